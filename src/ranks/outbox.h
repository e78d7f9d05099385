#pragma once
// What one thread is to send later.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace penstock::ranks {

/// A queue without a limit, so that no stage waits for the network to take its reports.
/// Thread-safe.
template <class Item>
class Outbox {
 public:
  void push(Item item) {
    {
      const std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    changed_.notify_one();
  }

  /// What is in it can still be taken.
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  /// Waits for the next item; nothing once the box has ended and is empty.
  std::optional<Item> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    auto item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool ended_ = false;
};

}  // namespace penstock::ranks
