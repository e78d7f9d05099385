#pragma once
// How long a stage was at work.

#include <atomic>
#include <chrono>
#include <cstdint>

#include "schedule/action.h"

namespace penstock::engine {

/// Adds up the time of a stage's own work: forward, backward, contribute, update. Waiting and
/// transfers do not count, nor does evaluation, which is not training.
/// Written by the stage's thread, read by any.
class StageClock {
 public:
  void add(schedule::ActionKind kind, std::chrono::steady_clock::duration duration) {
    if (schedule::is_waiting(kind) || kind == schedule::ActionKind::evaluate) return;
    working_.fetch_add(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count(),
                       std::memory_order_relaxed);
  }

  double working_seconds() const {
    return 1e-9 * static_cast<double>(working_.load(std::memory_order_relaxed));
  }

 private:
  std::atomic<std::int64_t> working_ = 0;  // nanoseconds
};

}  // namespace penstock::engine
