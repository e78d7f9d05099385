#include "data/loader.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace penstock::data {
namespace {

__extension__ using Uint128 = unsigned __int128;

/// Uniform in [0, bound): the high half of the product of 64 random bits and the bound. Its bias is
/// below bound / 2^64.
std::uint64_t bounded(std::uint64_t bits, std::uint64_t bound) {
  return static_cast<std::uint64_t>(Uint128{bits} * bound >> 64);
}

std::vector<std::uint32_t> permutation_of(std::int64_t size, std::uint64_t seed,
                                          std::int64_t epoch) {
  std::vector<std::uint32_t> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  const std::uint64_t key =
      random_bits(random_key(seed, "data order"), static_cast<std::uint64_t>(epoch));
  for (std::uint64_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[bounded(random_bits(key, i), i + 1)]);
  }
  return order;
}

}  // namespace

std::int64_t window_count(std::uint64_t tokens, std::int64_t seq) {
  if (seq < 1) throw std::invalid_argument("sequences have at least one token");
  return tokens == 0 ? 0
                     : static_cast<std::int64_t>((tokens - 1) / static_cast<std::uint64_t>(seq));
}

Loader::Loader(TokenRange range, LoaderOptions options)
    : range_(std::move(range)),
      options_(options),
      windows_(window_count(range_.size, options.seq)) {
  if (windows_ < 1) {
    throw user_error("data",
                     "{} tokens are too few for one sequence: seq = {} needs {}; give more text or "
                     "set model.seq lower",
                     range_.size, options_.seq, options_.seq + 1);
  }
  if (windows_ > std::numeric_limits<std::uint32_t>::max()) {
    throw user_error("data",
                     "{} sequences of {} tokens are more than the {} that one run can order",
                     windows_, options_.seq, std::numeric_limits<std::uint32_t>::max());
  }
}

std::int64_t Loader::window(std::int64_t k) {
  if (k < 0) throw std::invalid_argument("negative sequence number");
  const std::int64_t epoch = k / windows_;
  const std::int64_t place = k % windows_;
  if (options_.order == Order::sequential) return place;
  if (epoch != epoch_) {
    permutation_ = std::make_shared<const std::vector<std::uint32_t>>(
        permutation_of(windows_, options_.seed, epoch));
    epoch_ = epoch;
  }
  return (*permutation_)[static_cast<std::size_t>(place)];
}

void Loader::sequence(std::int64_t k, std::span<std::int64_t> inputs,
                      std::span<std::int64_t> targets) {
  const auto seq = static_cast<std::size_t>(options_.seq);
  if (inputs.size() != seq || targets.size() != seq) {
    throw std::invalid_argument("a sequence's inputs and targets have seq tokens each");
  }
  const std::uint64_t start = range_.begin + static_cast<std::uint64_t>(window(k)) * seq;
  range_.stream->read(start, inputs);
  range_.stream->read(start + 1, targets);
}

Split split_windows(const TokenRange& all, std::int64_t seq, double val_fraction) {
  if (!(val_fraction > 0 && val_fraction < 1)) {
    throw user_error("data",
                     "val_fraction = {} holds out no part of the text; set data.val_fraction "
                     "between 0 and 1, or data.val",
                     val_fraction);
  }
  const std::int64_t windows = window_count(all.size, seq);
  const auto val_windows =
      static_cast<std::int64_t>(std::ceil(val_fraction * static_cast<double>(windows) - 1e-9));
  if (val_windows < 1 || val_windows >= windows) {
    throw user_error("data",
                     "{} tokens give {} sequences of {}, too few for training and validation "
                     "(val_fraction = {}); give more text or set model.seq lower",
                     all.size, windows, seq, val_fraction);
  }
  const std::uint64_t border = static_cast<std::uint64_t>((windows - val_windows) * seq);
  return {{all.stream, all.begin, border + 1}, {all.stream, all.begin + border, all.size - border}};
}

}  // namespace penstock::data
