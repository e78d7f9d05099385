#pragma once
// Ctrl-C, SIGTERM and a lost terminal (SIGHUP) as a request instead of an end.

#include <functional>
#include <thread>

namespace penstock::train {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP calls `on_stop` (on a thread of its own); a
/// second one ends the process as it would without this object. Create it before the threads that
/// should not be interrupted, since they inherit the blocked signals.
class StopSignals {
 public:
  explicit StopSignals(std::function<void()> on_stop);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  std::jthread watcher_;
};

}  // namespace penstock::train
