#pragma once
// How long each single action takes.

#include <cstdint>
#include <vector>

#include "schedule/action.h"
#include "simulate/costs.h"

namespace penstock::simulate {

/// Durations as a pure function of (costs, stage, action): the same action takes as long in every
/// order of processing, and in every schedule.
class Durations {
 public:
  /// The costs must be checked and outlive this.
  Durations(const Costs& costs, schedule::PipelineShape shape);

  /// Seconds of F, B, dX, dW, contribute or update.
  double of(int stage, const schedule::Action& action) const {
    const std::size_t at = index(stage, action);
    return random_ ? drawn(stage, action, at) : expected_[at];
  }

  /// F and B (or dX and dW) of one micro-batch on all chunks of a stage, in the mean.
  double pair(int stage, bool split_backward) const;

 private:
  static constexpr int kinds = 6;
  static int number_of(schedule::ActionKind kind);
  std::size_t index(int stage, const schedule::Action& action) const {
    return (static_cast<std::size_t>(stage) * chunks_ + static_cast<std::size_t>(action.chunk)) *
               kinds +
           static_cast<std::size_t>(number_of(action.kind));
  }
  double drawn(int stage, const schedule::Action& action, std::size_t at) const;

  std::size_t chunks_;
  std::int64_t micro_batches_;
  std::vector<double> expected_;         // by stage, chunk and kind, with the slowdown
  std::vector<const Duration*> tables_;  // likewise, without it; null: no samples
  std::vector<std::uint64_t> keys_;      // per stage, for jitter and samples
  std::vector<double> slowdown_;
  bool random_ = false;
  double sigma_ = 0;  // of the logarithm of the jitter's factor
};

inline int Durations::number_of(schedule::ActionKind kind) {
  using enum schedule::ActionKind;
  switch (kind) {
    case forward:
      return 0;
    case backward:
      return 1;
    case backward_input:
      return 2;
    case backward_weight:
      return 3;
    case contribute:
      return 4;
    default:
      return 5;
  }
}

}  // namespace penstock::simulate
