#pragma once
// What a stage did and when, handed on in blocks.

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "timeline/timeline.h"

namespace penstock::engine {

/// Used by one thread at a time. The sink gets a block whenever one is full, and what is left
/// at flush().
class SpanRecorder {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Sink = std::function<void(std::vector<timeline::Span>)>;

  /// `start`: second 0 of all spans.
  SpanRecorder(Time start, Sink sink) : start_(start), sink_(std::move(sink)) {}

  /// `made`: when the message that the action received was sent; `end` where there was none.
  void add(const schedule::Action& action, Time begin, Time end, Time made) {
    spans_.push_back({action, seconds(begin - start_), seconds(end - start_),
                      seconds(end - std::max(begin, made))});
    if (spans_.size() == block) flush();
  }

  void flush() {
    if (!spans_.empty()) sink_(std::exchange(spans_, {}));
  }

 private:
  static constexpr std::size_t block = 1024;

  static double seconds(std::chrono::steady_clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  Time start_;
  Sink sink_;
  std::vector<timeline::Span> spans_;
};

}  // namespace penstock::engine
