#include "comm/batch_gate.h"

#include <algorithm>
#include <utility>

#include "comm/closed.h"

namespace penstock::comm {

bool BatchGate::decide(std::int64_t batch) {
  std::unique_lock lock(mutex_);
  if (batch < decision_.decided) return batch < decision_.end;
  if (stop_requested()) stop_before(batch);
  if (end_requested_.load(std::memory_order_relaxed)) {
    decision_.end = std::min(decision_.end, batch);
  }
  decision_.decided = batch + 1;
  changed_.notify_all();
  const Decision decision = decision_;
  lock.unlock();
  if (listener_) listener_(decision);
  return batch < decision.end;
}

/// No stage is behind the cut at W(batch + 1) yet: its update needs the batch that is undecided.
void BatchGate::stop_before(std::int64_t batch) {
  if (decision_.stop_cut >= 0) return;
  const std::int64_t cut = batch + 1;
  const std::int64_t end = setup_.begun_at ? std::max(cut, setup_.begun_at(cut)) : batch;
  if (end >= decision_.end) return;
  decision_.end = end;
  if (setup_.begun_at) decision_.stop_cut = cut;
}

bool BatchGate::wait(std::int64_t batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || batch < decision_.decided; });
  if (closed_) throw Closed();
  return batch < decision_.end;
}

bool BatchGate::is_stop_cut(std::int64_t version) const {
  const std::lock_guard lock(mutex_);
  return version == decision_.stop_cut;
}

void BatchGate::on_decision(std::function<void(const Decision&)> listener) {
  listener_ = std::move(listener);
}

void BatchGate::follow(const Decision& decision) {
  const std::lock_guard lock(mutex_);
  decision_ = decision;
  changed_.notify_all();
}

void BatchGate::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace penstock::comm
