#include "simulate/measured_costs.h"

#include <algorithm>

namespace penstock::simulate {
namespace {

using schedule::ActionKind;
using timeline::Span;

Duration* part_of(StageCosts& stage, const schedule::Action& action) {
  ChunkCosts& chunk = stage.chunks[static_cast<std::size_t>(action.chunk)];
  switch (action.kind) {
    case ActionKind::forward:
      return &chunk.forward;
    case ActionKind::backward:
      return &chunk.backward;
    case ActionKind::backward_input:
      return &chunk.backward_input;
    case ActionKind::backward_weight:
      return &chunk.backward_weight;
    case ActionKind::contribute:
      return &stage.contribute;
    case ActionKind::update:
      return &stage.update;
    default:
      return nullptr;
  }
}

/// Sets the mean from all samples and thins them out.
void finish(Duration& duration, std::size_t most) {
  duration.mean = duration.expected();
  const std::size_t count = duration.samples.size();
  if (count <= most) return;
  std::vector<double> kept;
  for (std::size_t i = 0; i < most; ++i) kept.push_back(duration.samples[i * count / most]);
  duration.samples = std::move(kept);
}

void fill_in(ChunkCosts& chunk) {
  const double input = chunk.backward_input.mean;
  const double weight = chunk.backward_weight.mean;
  if (input == 0 && weight == 0) {
    chunk.backward_input = chunk.backward.scaled(0.5);
    chunk.backward_weight = chunk.backward.scaled(0.5);
  } else if (chunk.backward.mean == 0) {
    chunk.backward = Duration(input + weight);
  }
}

/// Whether its message came after the stage had begun to wait.
bool shows_latency(const Span& span) {
  const ActionKind kind = span.action.kind;
  const bool receive =
      kind == ActionKind::receive_activation || kind == ActionKind::receive_gradient;
  return receive && span.transfer > 0 && span.transfer < span.seconds();
}

}  // namespace

Costs measured_costs(const timeline::Timeline& timeline, const MeasuredCostsRequest& request) {
  Costs costs;
  costs.message_bytes = request.message_bytes;
  double transfers = 0;
  double transfer_seconds = 0;
  for (const auto& spans : timeline.stages) {
    StageCosts& stage = costs.stages.emplace_back();
    stage.chunks.resize(static_cast<std::size_t>(timeline.shape.chunks));
    for (const Span& span : spans) {
      const std::int64_t batch = span.action.batch;
      if (batch < request.first_batch || batch > request.last_batch) continue;
      if (auto* part = part_of(stage, span.action)) part->samples.push_back(span.seconds());
      if (!shows_latency(span)) continue;
      transfers += 1;
      transfer_seconds += span.transfer;
    }
    for (ChunkCosts& chunk : stage.chunks) {
      for (Duration* part :
           {&chunk.forward, &chunk.backward, &chunk.backward_input, &chunk.backward_weight}) {
        finish(*part, request.most_samples);
      }
      fill_in(chunk);
    }
    finish(stage.contribute, request.most_samples);
    finish(stage.update, request.most_samples);
  }
  if (transfers > 0) costs.link.latency = transfer_seconds / transfers;
  return costs;
}

}  // namespace penstock::simulate
