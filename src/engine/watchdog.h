#pragma once
// Tells when a run makes no progress.

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/stage_monitor.h"

namespace penstock::engine {

/// A stage and what it was doing at one moment.
struct WatchedStage {
  int number = 0;
  StageMonitor::Snapshot doing;
};

/// Decides from looks at all stages of a process when to speak, and what to say.
///
/// A run is stalled where a stage has computed (any action but a waiting one) in the same action
/// for longer than the limit, or where every stage that has not left has done nothing else for that
/// long. A stage that waits longer while another one computes or moves on is no stall: the pipeline
/// may still fill.
///
/// Time counts between looks only, at most two looks' distance each: hours in which the whole
/// process stood still (Ctrl-Z, a suspended machine) are not a stall.
/// Used by one thread at a time.
class StallDetector {
 public:
  using Time = StageMonitor::Time;
  using Duration = Time::duration;

  /// `distance`: the planned time between two looks.
  StallDetector(Duration limit, Duration distance) : limit_(limit), distance_(distance) {}

  enum class Verdict { quiet, stalled, moves_again };

  /// The same stages in the same order at every look. `stalled` at the first look at a stall and
  /// whenever it has become twice as long as when last told; `moves_again` once after it, unless
  /// the run has ended.
  Verdict look(std::span<const WatchedStage> stages, Time now);

  /// Some lines on the stages as last looked at: first those that hold the others up, then what
  /// everybody else does. Ends with '\n'.
  std::string stages_text() const;
  /// "stage 2 has been in forward of ... for 61 s", or that all of them wait.
  std::string cause_text() const;
  /// Of the current or the last stall.
  Duration stalled_for() const { return stalled_for_; }

 private:
  struct Seen {
    WatchedStage stage;
    Duration age{};  // in its state
  };

  Duration shortest_rest() const;
  const Seen* longest_work() const;

  Duration limit_;
  Duration distance_;
  std::optional<Time> last_look_;
  std::vector<Seen> stages_;
  Duration stalled_for_{};
  std::optional<Duration> told_;  // how long the stall was when last told; none without a stall
};

/// A thread that looks at all stages of this process, every quarter of the limit and at least once
/// a second. Stages of other processes are not seen: one that waits for them longer than the limit
/// while all others here do so too is reported.
class Watchdog {
 public:
  struct Stage {
    int number = 0;
    const StageMonitor* monitor = nullptr;  // outlives the watchdog
  };
  struct Setup {
    std::vector<Stage> stages;
    std::chrono::duration<double> limit{};  // 0: never; no thread is started
    /// Gets the finished text, several lines, on the watchdog's thread. Must not throw.
    std::function<void(const std::string&)> report;
    /// What the stages wait for: a line per channel and reduction, asked for at every report, while
    /// the stages run. May be null. Must not throw, nor wait for a stage.
    std::function<std::string()> surroundings;
  };

  explicit Watchdog(Setup setup);
  /// Ends the thread at once.
  ~Watchdog() = default;
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(const std::stop_token& stop) const;
  std::string stall_text(const StallDetector& detector) const;

  const Setup setup_;
  std::jthread thread_;  // last: uses all of the above
};

}  // namespace penstock::engine
