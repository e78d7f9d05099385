#pragma once
// Timelines for tests.

#include <string_view>
#include <vector>

#include "schedule/schedule.h"
#include "simulate/simulate.h"
#include "timeline/timeline.h"

namespace penstock::timeline {

inline Span span(schedule::ActionKind kind, std::int64_t batch, std::int64_t micro_batch,
                 double begin, double end, double transfer = 0) {
  return {{kind, batch, micro_batch, batch, 0}, begin, end, transfer};
}

/// One batch of two micro-batches on two stages, F = 1 and B = 2, messages 0.5 under way:
///   stage 0  F0 F1 ....... wait, B0 B0 ...
///   stage 1  .. F0 B0 B0 F1 B1 B1
inline Timeline two_stages() {
  using enum schedule::ActionKind;
  Timeline timeline{"1f1b", {2, 2, 1}, schedule::Placement::loop, {}};
  timeline.stages = {
      {span(forward, 0, 0, 0, 1), span(forward, 0, 1, 1, 2),
       span(receive_gradient, 0, 0, 2, 5, 0.5), span(backward, 0, 0, 5, 7),
       span(receive_gradient, 0, 1, 7, 8, 0.5), span(backward, 0, 1, 8, 10),
       span(contribute, 0, 0, 10, 10), span(await_reduction, 0, 0, 10, 10),
       span(update, 0, 0, 10, 11)},
      {span(receive_activation, 0, 0, 0, 1.5, 0.5), span(forward, 0, 0, 1.5, 2.5),
       span(backward, 0, 0, 2.5, 4.5), span(forward, 0, 1, 4.5, 5.5),
       span(backward, 0, 1, 5.5, 7.5), span(contribute, 0, 0, 7.5, 7.5),
       span(await_reduction, 0, 0, 7.5, 10), span(update, 0, 0, 10, 11)},
  };
  for (auto& spans : timeline.stages) {
    for (Span& item : spans) {
      const auto kind = item.action.kind;
      if (kind == contribute || kind == await_reduction || kind == update) item.action.version = 1;
    }
  }
  return timeline;
}

struct Lengths {
  double forward = 1;
  double backward = 2;
  double update = 0;
  double latency = 0;
  double jitter = 0;
};

inline Timeline simulated(std::string_view name, schedule::PipelineShape shape,
                          std::int64_t batches, Lengths lengths = {}) {
  simulate::ChunkCosts one;
  one.forward = lengths.forward;
  one.backward = lengths.backward;
  one.backward_input = lengths.backward / 2;
  one.backward_weight = lengths.backward / 2;
  auto costs = simulate::uniform(shape, one, lengths.update);
  costs.link.latency = lengths.latency;
  costs.jitter = lengths.jitter;
  simulate::Request request;
  request.schedule = &schedule::find(name);
  request.shape = shape;
  request.batches = batches;
  request.costs = &costs;
  request.record = true;
  return *simulate::simulate(request).timeline;
}

}  // namespace penstock::timeline
