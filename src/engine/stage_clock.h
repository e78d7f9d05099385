#pragma once
// Where a stage's time goes.

#include <atomic>
#include <chrono>
#include <cstdint>

#include "schedule/action.h"

namespace penstock::engine {

/// Adds up the time of a stage's actions: work (forward, backward, update, ...), evaluation, and
/// waiting for neighbours or the reduction. Written by the stage's thread, read by any.
class StageClock {
 public:
  using Duration = std::chrono::steady_clock::duration;

  void add(schedule::ActionKind kind, Duration duration) {
    auto& sum = schedule::is_waiting(kind)               ? waiting_
                : kind == schedule::ActionKind::evaluate ? evaluating_
                                                         : working_;
    sum.fetch_add(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count(),
                  std::memory_order_relaxed);
  }

  double working_seconds() const { return seconds(working_); }
  double waiting_seconds() const { return seconds(waiting_); }
  double evaluating_seconds() const { return seconds(evaluating_); }

 private:
  static double seconds(const std::atomic<std::int64_t>& nanoseconds) {
    return 1e-9 * static_cast<double>(nanoseconds.load(std::memory_order_relaxed));
  }

  std::atomic<std::int64_t> working_ = 0;
  std::atomic<std::int64_t> waiting_ = 0;
  std::atomic<std::int64_t> evaluating_ = 0;
};

}  // namespace penstock::engine
