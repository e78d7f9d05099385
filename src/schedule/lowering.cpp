#include "schedule/lowering.h"

#include <algorithm>

namespace penstock::schedule {
namespace {

Action with_kind(Action action, ActionKind kind) {
  action.kind = kind;
  return action;
}

bool sends_gradient(ActionKind kind) {
  return kind == ActionKind::backward || kind == ActionKind::backward_input;
}

}  // namespace

ActionStream with_evaluation(ActionStream stream, EvaluationPlan plan, PipelineShape shape,
                             HasBatch has_batch) {
  const std::int64_t group = shape.stages;
  while (const auto action = stream.next()) {
    co_yield *action;
    if (action->kind != ActionKind::update || plan.micro_batches == 0) continue;
    const std::int64_t version = action->version;
    // W(v) is the run's last version exactly if there is no batch v.
    const bool due = (plan.every > 0 && version % plan.every == 0) || !has_batch(version);
    if (!due) continue;
    for (std::int64_t first = 0; first < plan.micro_batches; first += group) {
      const std::int64_t end = std::min(first + group, plan.micro_batches);
      for (std::int32_t chunk = 0; chunk < shape.chunks; ++chunk) {
        for (std::int64_t j = first; j < end; ++j) {
          const Action evaluate{ActionKind::evaluate, version, j, version, chunk};
          co_yield evaluate;
        }
      }
    }
  }
}

ActionStream with_transfers(ActionStream stream, int stage, PipelineShape shape,
                            Placement placement) {
  using enum ActionKind;
  const int last = shape.pieces() - 1;
  while (const auto action = stream.next()) {
    const int piece = piece_at(placement, shape, {stage, action->chunk});
    if (action->kind == forward) {
      if (piece > 0) co_yield with_kind(*action, receive_activation);
      co_yield *action;
      if (piece < last) co_yield with_kind(*action, send_activation);
    } else if (sends_gradient(action->kind)) {
      if (piece < last) co_yield with_kind(*action, receive_gradient);
      co_yield *action;
      if (piece > 0) co_yield with_kind(*action, send_gradient);
    } else if (action->kind == evaluate) {
      if (piece > 0) co_yield with_kind(*action, receive_evaluation);
      co_yield *action;
      if (piece < last) co_yield with_kind(*action, send_evaluation);
    } else {
      co_yield *action;
    }
  }
}

}  // namespace penstock::schedule
