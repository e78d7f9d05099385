#pragma once
// The ranks of a run, connected with each other over c10d's Gloo.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "comm/closed.h"
#include "ranks/environment.h"
#include "ranks/failure.h"
#include "ranks/frame.h"

namespace penstock::ranks {

/// Frames between any two ranks, and one agreed failure of all. Between two ranks the frames of one
/// tag arrive in the order in which they were sent; tags do not hold each other up. Thread-safe; a
/// tag is used by one thread at each end.
///
/// A rank that fails calls fail(), and every rank, whatever it is doing, then ends with that
/// failure: blocked and later calls of send() and receive() throw comm::Closed, and failure() tells
/// why. A lost connection is a failure of the rank that it led to.
class Group {
 public:
  using Clock = std::chrono::steady_clock;

  struct Setup {
    Environment environment;
    std::chrono::milliseconds join_timeout = std::chrono::seconds(120);
    /// How long to wait for a better reason when a connection is lost: the launcher may know it.
    std::chrono::milliseconds patience = std::chrono::milliseconds(500);
  };

  /// Returns when all ranks have joined. The threads that it starts take no signals. With
  /// `environment.port` 0, rank 0 chooses one. Errors: RunFailure naming the ranks that have not
  /// come in time.
  explicit Group(Setup setup);
  /// Calls leave().
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const Environment& environment() const;
  int rank() const { return environment().rank; }
  int size() const { return environment().size; }

  /// Returns when the frame's memory is free again, not when it has been received.
  void send(int to, int tag, const Frame& frame);
  Frame receive(int from, int tag);

  /// This rank's clock as rank 0 reads it, and back. The difference is measured when joining, to
  /// half a round trip; what is smaller than that counts as none, as between ranks of one host.
  std::chrono::nanoseconds ahead_of_rank_0() const;

  /// Ends the run on all ranks; only the first failure of all counts. Any thread, at any time.
  void fail(const Failure& failure) noexcept;
  /// The run's failure, once it is known here.
  std::optional<Failure> failure() const;
  /// Called once, on some thread, when the run's failure becomes known; at once if it is. An empty
  /// function takes the earlier one back: it is not running any more then.
  void on_failure(std::function<void()> function);

  /// The orderly end: nobody sends to this rank or awaits anything of it. A rank that hosts the
  /// store waits a little until the others have left too.
  void leave();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Runs `function`, which uses the group. What it throws ends the run on all ranks; what this
/// throws is the first failure of all of them.
template <class Function>
auto run_together(Group& group, Function&& function) {
  try {
    return function();
  } catch (const comm::Closed&) {
    if (const auto failure = group.failure()) throw_failure(*failure);
    throw;
  } catch (...) {
    group.fail(failure_of(group.rank(), std::current_exception()));
    throw;
  }
}

}  // namespace penstock::ranks
