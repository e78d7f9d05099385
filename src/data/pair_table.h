#pragma once
// A hash table from pairs of ids to numbers.

#include <cstdint>
#include <unordered_map>

#include "base/random.h"

namespace penstock::data {

/// A pair of ids as one number that orders like (left, right).
constexpr std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}
constexpr std::uint32_t left_of(std::uint64_t key) { return static_cast<std::uint32_t>(key >> 32); }
constexpr std::uint32_t right_of(std::uint64_t key) { return static_cast<std::uint32_t>(key); }

struct PairHash {
  std::size_t operator()(std::uint64_t key) const { return mix(key); }
};

template <class Value>
using PairTable = std::unordered_map<std::uint64_t, Value, PairHash>;

}  // namespace penstock::data
