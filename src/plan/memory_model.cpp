#include "plan/memory_model.h"

#include <algorithm>

namespace penstock::plan {
namespace {

constexpr double fp32 = 4;

double tokens(const Workload& workload, const Candidate& candidate) {
  return static_cast<double>(candidate.micro_batch * workload.model.seq);
}

const UnitLoad& unit_at(const Workload& workload, std::int64_t u) {
  return workload.units[static_cast<std::size_t>(u)];
}

/// Edges on which messages arrive: activations from the piece before, gradients from the next.
double edges(const Candidate& candidate, int stage) {
  double count = 0;
  const int last = candidate.shape.pieces() - 1;
  for (int chunk = 0; chunk < candidate.shape.chunks; ++chunk) {
    const int piece =
        schedule::piece_at(candidate.schedule->placement, candidate.shape, {stage, chunk});
    count += (piece > 0 ? 1 : 0) + (piece < last ? 1 : 0);
  }
  return count;
}

}  // namespace

double message_bytes(const Workload& workload, const Candidate& candidate) {
  return tokens(workload, candidate) * workload.stream();
}

StageParameters parameters_of(const Workload& workload, const Candidate& candidate, int stage) {
  StageParameters all;
  for (int chunk = 0; chunk < candidate.shape.chunks; ++chunk) {
    const auto range = candidate.piece(stage, chunk);
    for (auto u = range.first; u < range.last; ++u) {
      const UnitLoad& unit = unit_at(workload, u);
      all.weights += unit.weights;
      all.gradients += unit.weights;
      all.matrix_weights += unit.matrix_weights;
      all.largest = std::max(all.largest, unit.largest);
      all.state += unit.state;
      all.update_flop += unit.update_flop;
    }
  }
  // Only within one piece does a tied head use the embedding's weights (model/layout.h).
  if (workload.model.tied && candidate.shape.pieces() == 1) {
    const model::Parameter head = model::units(workload.model).back().tensors.back().parameters[0];
    all.weights -= static_cast<double>(head.count());
    all.state -= workload.state.bytes(head);
  }
  return all;
}

MemoryUse memory_of(const Workload& workload, const Candidate& candidate, int stage) {
  const auto limits = candidate.schedule->limits(stage, candidate.shape);
  const auto parameters = parameters_of(workload, candidate, stage);
  const bool bf16 = workload.precision == config::Precision::bf16;
  const auto activations = activations_of(workload, candidate, stage);
  MemoryUse use;
  use.weights = limits.versions * workload.element() * parameters.weights;
  use.masters = bf16 ? fp32 * parameters.weights : 0;
  use.gradients = limits.gradient_buffers * fp32 * parameters.gradients;
  use.optimizer = parameters.state;
  use.activations = activations.most;
  const double update = activations.at_update + update_copies * fp32 * parameters.largest;
  use.working = std::max({activations.during_backward, update, use.activations}) - use.activations;
  use.messages = message_slots * edges(candidate, stage) * message_bytes(workload, candidate);
  use.all_reduce = candidate.replicas > 1 ? 2 * all_reduce_chunk : 0;
  return use;
}

}  // namespace penstock::plan
