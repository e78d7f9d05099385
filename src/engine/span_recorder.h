#pragma once
// What a stage did and when, handed on in blocks.

#include <functional>
#include <utility>
#include <vector>

#include "timeline/timeline.h"

namespace penstock::engine {

/// Used by one thread at a time. The sink gets a block whenever one is full, and what is left
/// at flush().
class SpanRecorder {
 public:
  using Sink = std::function<void(std::vector<timeline::Span>)>;

  explicit SpanRecorder(Sink sink) : sink_(std::move(sink)) {}

  void add(const timeline::Span& span) {
    spans_.push_back(span);
    if (spans_.size() == block) flush();
  }

  void flush() {
    if (!spans_.empty()) sink_(std::exchange(spans_, {}));
  }

 private:
  static constexpr std::size_t block = 1024;

  Sink sink_;
  std::vector<timeline::Span> spans_;
};

}  // namespace penstock::engine
