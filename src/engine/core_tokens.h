#pragma once
// Shares a few cores among many stages.

#include <condition_variable>
#include <deque>
#include <mutex>

#include "comm/closed.h"

namespace penstock::engine {

/// A stage holds a token while it works, not while it waits for others: with more stages than
/// cores, those that have work take turns in the order in which they asked. This changes speed,
/// never order or results. Any thread.
class CoreTokens {
 public:
  explicit CoreTokens(int count) : free_(count) {}

  /// Blocks until a token is free. Throws Closed after close().
  void acquire() {
    std::unique_lock lock(mutex_);
    if (closed_) throw comm::Closed();
    if (free_ > 0) {
      --free_;
      return;
    }
    Waiter waiter;
    waiters_.push_back(&waiter);
    waiter.changed.wait(lock, [&] { return waiter.has_token || closed_; });
    if (!waiter.has_token) throw comm::Closed();
  }

  bool try_acquire() {
    const std::lock_guard lock(mutex_);
    if (closed_ || free_ == 0) return false;
    --free_;
    return true;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    if (waiters_.empty()) {
      ++free_;
      return;
    }
    Waiter* next = waiters_.front();
    waiters_.pop_front();
    next->has_token = true;
    next->changed.notify_one();
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (Waiter* waiter : waiters_) waiter->changed.notify_one();
    waiters_.clear();
  }

 private:
  struct Waiter {
    std::condition_variable changed;
    bool has_token = false;
  };

  std::mutex mutex_;
  int free_;
  std::deque<Waiter*> waiters_;  // in the order of asking
  bool closed_ = false;
};

}  // namespace penstock::engine
