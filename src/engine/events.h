#pragma once
// What the engine reports while it runs.

#include <chrono>
#include <cstdint>
#include <functional>
#include <variant>

namespace penstock::engine {

/// W(batch + 1) is complete on the reporting stage.
struct UpdateEvent {
  std::int64_t batch = 0;
  double loss = 0;           // mean over the batch's tokens, at the weights the batch read
  double gradient_norm = 0;  // global, before clipping
  double clip_factor = 1;
  double lr = 0;  // of [optimizer]
  std::chrono::steady_clock::time_point at;
};

/// All validation micro-batches of one evaluation are done.
struct EvaluationEvent {
  std::int64_t version = 0;
  double loss = 0;          // mean over the tokens
  std::int64_t tokens = 0;  // evaluated
  std::chrono::steady_clock::time_point at;
};

using Event = std::variant<UpdateEvent, EvaluationEvent>;

/// Called on the last stage's thread, in order. May block only briefly.
using EventSink = std::function<void(const Event&)>;

}  // namespace penstock::engine
