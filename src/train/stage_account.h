#pragma once
// Where one stage's time went, update by update and over the run.

#include <chrono>
#include <cstdint>

#include "engine/events.h"
#include "observe/record.h"
#include "observe/summary.h"

namespace penstock::train {

/// Used by one thread.
class StageAccount {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `start`: second 0 of the usage in the stage's events.
  explicit StageAccount(Time start) : told_at_(start) {}

  struct Entry {
    observe::StageRecord record;
    double busy = 0;  // share of work in the time since the entry before, without evaluation
  };
  /// `at`: when the event's update was complete. Seconds are whole microseconds.
  Entry add(const engine::StageEvent& event, Time at);

  /// A record of an earlier part of the run.
  void add(const observe::StageRecord& record);

  /// `seconds`: of training.
  observe::StageSummary summary(double seconds) const;

 private:
  Time told_at_;
  timeline::Usage told_;
  double told_core_ = 0;
  double work_ = 0;
  observe::Waits waits_;
  std::int64_t updates_ = 0;
  double delays_ = 0;
  std::int64_t least_delay_ = 0;
  std::int64_t most_delay_ = 0;
};

}  // namespace penstock::train
