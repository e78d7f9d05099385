#pragma once
// From what a stage computes to everything it does: adds evaluations and transfers.

#include "schedule/schedule.h"

namespace penstock::schedule {

/// When validation runs: after update v if v is a multiple of `every` (0: never) or the run's last.
/// Each evaluation is `micro_batches` forwards of W(v) (0: no evaluation at all), in the order of
/// the pipeline and without draining it.
struct EvaluationPlan {
  std::int64_t every = 0;
  std::int64_t micro_batches = 0;
};

/// Inserts evaluate actions behind the updates that `plan` names: in groups of d micro-batches,
/// each group through the stage's chunks one after the other.
ActionStream with_evaluation(ActionStream stream, EvaluationPlan plan, PipelineShape shape,
                             HasBatch has_batch);

/// Inserts receive and send actions around F, B, dX and evaluate of `stage`. Activations, gradients
/// and evaluations travel on edges of their own, one each between two neighbouring pieces of the
/// model, also where both lie on the same stage.
ActionStream with_transfers(ActionStream stream, int stage, PipelineShape shape,
                            Placement placement);

/// Messages that may wait on an edge before its sender blocks. Two let a sender go on while its
/// neighbour is still busy; an evaluation's group may have to wait as a whole.
constexpr int edge_capacity = 2;
constexpr int evaluation_edge_capacity(PipelineShape shape) {
  return shape.stages > edge_capacity ? shape.stages : edge_capacity;
}

}  // namespace penstock::schedule
