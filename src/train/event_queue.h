#pragma once
// From the engine's threads to the one that reports.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/events.h"

namespace penstock::train {

/// Never blocks the writers, so that a slow disk or terminal does not slow down training.
/// Thread-safe.
class EventQueue {
 public:
  void push(engine::Event event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.notify_one();
  }

  /// Ends the queue: what is in it can still be taken.
  void end() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
  }

  /// Waits for the next event; nothing once the queue has ended and is empty.
  std::optional<engine::Event> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !events_.empty(); });
    if (events_.empty()) return std::nullopt;
    auto event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<engine::Event> events_;
  bool ended_ = false;
};

}  // namespace penstock::train
