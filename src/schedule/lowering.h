#pragma once
// From what a stage computes to everything it does: adds captures, evaluations and transfers.

#include <cstdint>
#include <functional>

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
/// each group through the stage's chunks one after the other. With a cut (cut.h), the stream begins
/// there, and so with the evaluation of W(cut) if it is due.
ActionStream with_evaluation(ActionStream stream, EvaluationPlan plan, PipelineShape shape,
                             HasBatch has_batch, std::int64_t cut = 0);

/// Inserts receive and send actions around F, B, dX and evaluate of `stage`. Activations, gradients
/// and evaluations travel on edges of their own, one each between two neighbouring pieces of the
/// model, also where both lie on the same stage.
ActionStream with_transfers(ActionStream stream, int stage, PipelineShape shape,
                            Placement placement);

struct StreamPlan {
  EvaluationPlan evaluation;
  /// Whether the state at the cut behind the update to W(version) is wanted; the same function on
  /// every stage. Null: never.
  std::function<bool(std::int64_t version)> capture_due = nullptr;
  /// Begin at this cut, a regular one of a run of the same length; 0: at the start.
  std::int64_t cut = 0;
  /// Never asked for the batches that had been asked for at the cut: they exist.
  HasBatch has_batch;
};

/// Everything that a stage does. With a cut: what it does behind it in a run that was not
/// interrupted; what comes before is produced and dropped, some 50 ns per compute action. The shape
/// must be one without complaint.
ActionStream stage_stream(const Schedule& schedule, int stage, PipelineShape shape,
                          StreamPlan plan);

/// Messages that may wait on an edge before its sender blocks. Two let a sender go on while its
/// neighbour is still busy; an evaluation's group may have to wait as a whole.
constexpr int edge_capacity = 2;
constexpr int evaluation_edge_capacity(PipelineShape shape) {
  return shape.stages > edge_capacity ? shape.stages : edge_capacity;
}

}  // namespace penstock::schedule
