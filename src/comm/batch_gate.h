#pragma once
// Agreement of all stages on where the run ends.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

namespace penstock::comm {

/// The leader (the stage that starts every batch) decides batch by batch whether the run goes on;
/// the others wait for that decision. request_stop() ends the run before the next undecided batch,
/// or soon after it, so every started batch is finished on every stage. All functions may be
/// called by any thread.
class BatchGate {
 public:
  struct Setup {
    std::int64_t batches = 0;  // of the run
    std::int64_t first = 0;    // the batches before it were trained earlier
    /// A stopped run is to have a cut that it can go on from later (schedule/cut.h): gives the
    /// batches that a run must have for its cut at W(version). Null: it stops as early as it can.
    std::function<std::int64_t(std::int64_t version)> begun_at = nullptr;
  };
  /// What the leader has decided so far.
  struct Decision {
    std::int64_t decided = 0;  // batches below this one
    std::int64_t end = 0;      // batches of the run
    std::int64_t stop_cut = -1;
  };

  explicit BatchGate(Setup setup)
      : setup_(std::move(setup)), decision_{.decided = setup_.first, .end = setup_.batches} {}
  explicit BatchGate(std::int64_t batches) : BatchGate(Setup{.batches = batches}) {}

  /// Called by the leader's stream. Never blocks.
  bool decide(std::int64_t batch);

  /// Called by the other stages' streams. Blocks until the leader has decided `batch`.
  /// Throws Closed after close().
  bool wait(std::int64_t batch);

  /// Whether the weights W(version) are where a stopped run can go on. Asked by a stage that has
  /// run batch `version` - 1.
  bool is_stop_cut(std::int64_t version) const;

  /// Ends the run before the next undecided batch in any case: a cut would be of no use.
  void request_end() noexcept { end_requested_.store(true, std::memory_order_relaxed); }
  void request_stop() noexcept { stop_requested_.store(true, std::memory_order_relaxed); }
  bool stop_requested() const noexcept { return stop_requested_.load(std::memory_order_relaxed); }

  /// Told every new decision, on the leader's thread; for gates in other processes. Before the run.
  void on_decision(std::function<void(const Decision&)> listener);
  /// Takes over what the leader in another process has decided.
  void follow(const Decision& decision);

  void close();

 private:
  void stop_before(std::int64_t batch);

  const Setup setup_;
  std::atomic<bool> stop_requested_ = false;
  std::atomic<bool> end_requested_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Decision decision_;
  std::function<void(const Decision&)> listener_;
  bool closed_ = false;
};

}  // namespace penstock::comm
