#pragma once
// Counter-based random numbers: a pure function of (key, counter). Bits and uniform numbers are the
// same on every machine, normal ones up to the last bit of the system's log1p and cos.

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace penstock {

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes all bits.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A key for everything that is random about `name` in a run with this seed.
constexpr std::uint64_t random_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t key = mix(seed);
  for (const char c : name) key = mix(key ^ static_cast<unsigned char>(c));
  return key;
}

constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix(key ^ mix(counter));
}

/// Uniform in [0, 1) with 53 bits.
constexpr double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 11) * 0x1.0p-53;
}

/// Standard normal (Box-Muller).
inline double random_normal(std::uint64_t key, std::uint64_t counter) {
  const double radius = std::sqrt(-2 * std::log1p(-random_uniform(key, 2 * counter)));
  return radius * std::cos(2 * std::numbers::pi * random_uniform(key, 2 * counter + 1));
}

}  // namespace penstock
