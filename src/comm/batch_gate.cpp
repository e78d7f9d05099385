#include "comm/batch_gate.h"

#include <algorithm>

#include "comm/closed.h"

namespace penstock::comm {

bool BatchGate::decide(std::int64_t batch) {
  const std::lock_guard lock(mutex_);
  if (batch >= decided_) {
    if (stop_requested()) end_ = std::min(end_, batch);
    decided_ = batch + 1;
    changed_.notify_all();
  }
  return batch < end_;
}

bool BatchGate::wait(std::int64_t batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || batch < decided_; });
  if (closed_) throw Closed();
  return batch < end_;
}

void BatchGate::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace penstock::comm
