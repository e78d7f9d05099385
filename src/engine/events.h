#pragma once
// What the engine reports while it runs.

#include <chrono>
#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "timeline/timeline.h"

namespace penstock::engine {

/// W(batch + 1) is complete on the reporting stage, and the batch's sums are known.
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
  double loss = 0;                              // mean over the tokens
  std::int64_t tokens = 0;                      // evaluated
  std::chrono::steady_clock::time_point begin;  // when the reporting stage had W(version)
  std::chrono::steady_clock::time_point at;
};

/// What a stage has done; only where the run is traced. In the order of time for each stage.
struct SpansEvent {
  int stage = 0;
  std::vector<timeline::Span> spans;
};

using Event = std::variant<UpdateEvent, EvaluationEvent, SpansEvent>;

/// Updates and evaluations come in order from the stage that computes the loss, spans from every
/// stage's own thread. Must be thread-safe and may block only briefly.
using EventSink = std::function<void(Event)>;

}  // namespace penstock::engine
