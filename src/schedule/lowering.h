#pragma once
// From what a stage computes to everything it does: adds evaluations, transfers and waits.

#include "schedule/schedule.h"

namespace penstock::schedule {

/// When validation runs: after update v if v is a multiple of `every` (0: never) or the run's last.
/// Each evaluation is `micro_batches` forwards of W(v) (0: no evaluation at all), in the order of
/// the pipeline and without draining it.
struct EvaluationPlan {
  std::int64_t every = 0;
  std::int64_t micro_batches = 0;
};

/// Inserts evaluate actions behind the updates that `plan` names.
StreamPtr with_evaluation(StreamPtr stream, EvaluationPlan plan, HasBatch has_batch);

/// Inserts receive and send actions around forward, backward and evaluate of stage `stage` of
/// `stages`, and await_reduction before update.
StreamPtr with_transfers(StreamPtr stream, int stage, int stages);

}  // namespace penstock::schedule
