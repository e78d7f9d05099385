#pragma once
// Bytes of activations: what a micro-batch keeps on a piece of the model, and a stage of all those
// in flight.

#include <vector>

#include "model/recompute.h"
#include "plan/candidate.h"
#include "plan/workload.h"

namespace penstock::plan {

/// Token numbers and targets, int64, of each micro-batch in flight.
inline constexpr double bytes_of_token_numbers = 16;

/// What model::StageModel computes again of these units.
std::vector<model::Segment> segments_of(const Workload& workload, model::UnitRange range,
                                        Recompute recompute);

/// One micro-batch on one piece.
struct PieceBytes {
  double kept = 0;            // from F to B or dX
  double held = 0;            // from dX to dW: the gradients that dW needs replace what dX used up
  double backward = 0;        // the most while B runs
  double input_gradient = 0;  // the most while dX runs
};

/// `candidate` decides what is kept and what computed again (model/recompute.h), and the tokens.
PieceBytes piece_bytes(const Workload& workload, const Candidate& candidate, int stage, int chunk);

/// All micro-batches in flight on a stage.
struct StageActivations {
  double most = 0;             // between two actions
  double during_backward = 0;  // while B or dX runs
  double at_update = 0;
};

/// From the schedule's limits, with the mean over chunks; where dX leaves more behind than F, from
/// the order of its actions.
StageActivations activations_of(const Workload& workload, const Candidate& candidate, int stage);

/// Whether `activations_of` follows the schedule's own order, so that no simulation is needed.
bool follows_order(const Candidate& candidate);

}  // namespace penstock::plan
