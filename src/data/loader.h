#pragma once
// Training sequences out of a row of tokens.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/token_stream.h"

namespace penstock::data {

enum class Order { shuffled, sequential };

struct LoaderOptions {
  std::int64_t seq = 0;  ///< Tokens of a sequence.
  std::uint64_t seed = 0;
  Order order = Order::shuffled;
};

/// Windows of `seq` tokens that have a next token for each of theirs: (tokens - 1) / seq, 0 for 0.
std::int64_t window_count(std::uint64_t tokens, std::int64_t seq);

/// Cuts a range into consecutive windows of `seq` tokens: window i has the inputs i*seq .. i*seq +
/// seq - 1 of the range and as targets the tokens one behind them. Neighbouring windows share one
/// token, the last target of one and the first input of the next. The (tokens - 1) % seq tokens
/// behind the last window are not used.
///
/// The order of the windows is a pure function of (seed, k): sequence k belongs to epoch
/// k / windows() and is entry k % windows() of that epoch's permutation (Fisher-Yates on the
/// counter-based generator of base/random.h; the identity for Order::sequential). So each window
/// comes exactly once per epoch, and k is all that has to be saved to go on.
///
/// Errors of the constructor: UserError where the range has no whole window.
/// Threads: one caller at a time per object. Copies are cheap, share the stream and give the same
/// sequences: one for each thread.
class Loader {
 public:
  Loader(TokenRange range, LoaderOptions options);

  /// Sequences of one epoch, at least 1.
  std::int64_t windows() const { return windows_; }
  std::int64_t seq() const { return options_.seq; }

  /// Fills `inputs` and `targets`, both [seq], with sequence k >= 0 of the run.
  /// Errors: std::invalid_argument for other sizes or a negative k.
  void sequence(std::int64_t k, std::span<std::int64_t> inputs, std::span<std::int64_t> targets);

  /// The window that is sequence k.
  std::int64_t window(std::int64_t k);

 private:
  TokenRange range_;
  LoaderOptions options_;
  std::int64_t windows_ = 0;
  std::int64_t epoch_ = -1;  ///< Of permutation_.
  std::shared_ptr<const std::vector<std::uint32_t>> permutation_;
};

struct Split {
  TokenRange train;
  TokenRange val;
};

/// Holds out the last ceil(val_fraction * windows) windows of `all` for validation (a product
/// within 1e-9 of a whole number counts as that number). No target is in both parts; the token at
/// the border is the last target of training and the first input of validation. Errors: UserError
/// for a fraction outside (0, 1) or where a part would have no window.
Split split_windows(const TokenRange& all, std::int64_t seq, double val_fraction);

}  // namespace penstock::data
