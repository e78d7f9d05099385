#include "schedule/lowering.h"

#include <algorithm>
#include <utility>

#include "schedule/cut.h"

namespace penstock::schedule {
namespace {

Action with_kind(Action action, ActionKind kind) {
  action.kind = kind;
  return action;
}

bool sends_gradient(ActionKind kind) {
  return kind == ActionKind::backward || kind == ActionKind::backward_input;
}

bool is_due(const EvaluationPlan& plan, std::int64_t version, const HasBatch& has_batch) {
  if (plan.micro_batches == 0) return false;
  // W(v) is the run's last version exactly if there is no batch v.
  return (plan.every > 0 && version % plan.every == 0) || !has_batch(version);
}

ActionStream evaluation_of(std::int64_t version, std::int64_t micro_batches, PipelineShape shape) {
  const std::int64_t group = shape.stages;
  for (std::int64_t first = 0; first < micro_batches; first += group) {
    const std::int64_t end = std::min(first + group, micro_batches);
    for (std::int32_t chunk = 0; chunk < shape.chunks; ++chunk) {
      for (std::int64_t j = first; j < end; ++j) {
        const Action evaluate{ActionKind::evaluate, version, j, version, chunk};
        co_yield evaluate;
      }
    }
  }
}

}  // namespace

ActionStream with_evaluation(ActionStream stream, EvaluationPlan plan, PipelineShape shape,
                             HasBatch has_batch, std::int64_t cut) {
  std::int64_t updated_to = cut;
  while (true) {
    // Before the stream goes on, since it may then ask for a batch, which ends evaluations' turn.
    if (updated_to > 0 && is_due(plan, updated_to, has_batch)) {
      auto evaluation = evaluation_of(updated_to, plan.micro_batches, shape);
      while (const auto action = evaluation.next()) co_yield *action;
    }
    const auto action = stream.next();
    if (!action) break;
    updated_to = action->kind == ActionKind::update ? action->version : 0;
    co_yield *action;
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

ActionStream stage_stream(const Schedule& schedule, int stage, PipelineShape shape,
                          StreamPlan plan) {
  const auto begun = [at = schedule.begun_at, shape](std::int64_t version) {
    return at(version, shape);
  };
  const std::int64_t known = plan.cut > 0 ? begun(plan.cut) : 0;
  const HasBatch has_batch = [known, ask = std::move(plan.has_batch)](std::int64_t batch) {
    return batch < known || ask(batch);
  };
  auto stream = schedule.generate(stage, shape, has_batch);
  if (plan.cut > 0) stream = resumed(std::move(stream), plan.cut);
  stream = with_evaluation(std::move(stream), plan.evaluation, shape, has_batch, plan.cut);
  if (plan.capture_due) {
    stream = with_capture(std::move(stream), {std::move(plan.capture_due), begun}, has_batch);
  }
  return with_transfers(std::move(stream), stage, shape, schedule.placement);
}

}  // namespace penstock::schedule
