#pragma once
// Agreement of all stages on where the run ends.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace penstock::comm {

/// The leader (the stage that starts every batch) decides batch by batch whether the run goes on;
/// the others wait for that decision. request_stop() ends the run before the next undecided batch,
/// so every started batch is finished on every stage. All functions may be called by any thread.
class BatchGate {
 public:
  explicit BatchGate(std::int64_t batches) : end_(batches) {}

  /// Called by the leader's stream. Never blocks.
  bool decide(std::int64_t batch);

  /// Called by the other stages' streams. Blocks until the leader has decided `batch`.
  /// Throws Closed after close().
  bool wait(std::int64_t batch);

  void request_stop() noexcept { stop_requested_.store(true, std::memory_order_relaxed); }
  bool stop_requested() const noexcept { return stop_requested_.load(std::memory_order_relaxed); }

  void close();

 private:
  std::atomic<bool> stop_requested_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t end_;          // batches of the run, shrinks on a stop
  std::int64_t decided_ = 0;  // batches below this one are decided
  bool closed_ = false;
};

}  // namespace penstock::comm
