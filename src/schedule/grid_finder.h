#pragma once
// From the actions of a schedule to rows that repeat.

#include "schedule/grid_rows.h"

namespace penstock::schedule {

/// The schedule in this shape as rows, compared action by action with short and long runs of it. A
/// repetition ends with the last backward of its batch, so its own backwards are B0 to B(m-1); what
/// the stage does in advance of that stands in `once`.
/// Errors: UserError for a shape with complaint, or if the schedule does not repeat from batch to
/// batch.
Grid find_grid(const Schedule& schedule, PipelineShape shape);

}  // namespace penstock::schedule
