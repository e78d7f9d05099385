#pragma once
// A bounded first-in-first-out channel between two stages.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>

#include "comm/closed.h"

namespace penstock::comm {

/// One sender thread, one receiver thread, messages in order. send() blocks while `capacity`
/// messages wait, receive() while none does. close() may come from any thread: it wakes both ends,
/// which then throw Closed.
template <class Message>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}

  void send(Message message) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || messages_.size() < capacity_; });
    if (closed_) throw Closed();
    messages_.push_back(std::move(message));
    lock.unlock();
    changed_.notify_one();
  }

  Message receive() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !messages_.empty(); });
    if (closed_) throw Closed();
    Message message = std::move(messages_.front());
    messages_.pop_front();
    lock.unlock();
    changed_.notify_one();
    return message;
  }

  /// Puts a message in before sender and receiver start, whatever the capacity: one that was under
  /// way when the run was interrupted.
  void preload(Message message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  /// Messages that wait. Any thread.
  std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return messages_.size();
  }
  std::size_t capacity() const { return capacity_; }

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  bool closed_ = false;
};

}  // namespace penstock::comm
