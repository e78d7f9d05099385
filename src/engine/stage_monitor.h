#pragma once
// What a stage is doing, and where its time went.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>

#include "schedule/action.h"
#include "timeline/usage.h"

namespace penstock::engine {

/// Kept by the stage's thread, read by any. A change takes two uncontended locks of a mutex per
/// action at most and allocates nothing.
///
///   wait_for_core(a, now)   only where no core was free
///   begin(a, now)           ends the wait for a core
///   end(now, made)
///   ... and once, however the stage comes to its end: leave(now)
class StageMonitor {
 public:
  using Time = std::chrono::steady_clock::time_point;

  enum class State : std::uint8_t {
    starting,          // no action yet
    waiting_for_core,  // for `action`
    acting,            // in `action`
    between,           // `action` is done, the next one is not known yet
    left,
  };

  struct Snapshot {
    State state = State::starting;
    schedule::Action action{};  // none while starting; where the stage has left, its last one
    Time since{};               // when this state began
    std::int64_t actions = 0;   // done
    /// Seconds of the actions done, by cause; idle is not filled in.
    timeline::Usage usage{};
    double waited_for_core = 0;  // seconds, in no part of `usage`
  };

  explicit StageMonitor(Time now = std::chrono::steady_clock::now()) { now_.since = now; }

  void wait_for_core(const schedule::Action& action, Time now) {
    const std::lock_guard lock(mutex_);
    enter(State::waiting_for_core, now);
    now_.action = action;
  }

  void begin(const schedule::Action& action, Time now) {
    const std::lock_guard lock(mutex_);
    if (now_.state == State::waiting_for_core) now_.waited_for_core += seconds(now - now_.since);
    enter(State::acting, now);
    now_.action = action;
  }

  /// `made`: when the message that the action received was sent; `now` where there was none.
  void end(Time now, Time made) {
    const std::lock_guard lock(mutex_);
    const auto duration = now - now_.since;
    const auto under_way = std::clamp(now - made, Time::duration::zero(), duration);
    now_.usage.add({now_.action, 0, seconds(duration), seconds(under_way)});
    ++now_.actions;
    enter(State::between, now);
  }

  void leave(Time now) {
    const std::lock_guard lock(mutex_);
    enter(State::left, now);
  }

  Snapshot snapshot() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }

 private:
  static double seconds(Time::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  void enter(State state, Time now) {
    now_.state = state;
    now_.since = now;
  }

  mutable std::mutex mutex_;
  Snapshot now_;
};

}  // namespace penstock::engine
