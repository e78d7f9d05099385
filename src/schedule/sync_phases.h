#pragma once
// Runs whose first and last updates are made without delay.

#include <cstdint>
#include <limits>
#include <string>

#include "schedule/validate.h"

namespace penstock::schedule {

/// A value of `final_begin`: there is no such batch.
inline constexpr std::int64_t no_final_phase = std::numeric_limits<std::int64_t>::max();

/// Why the schedule has no phases without delay in this shape, which must be one without complaint:
/// a reason to be put behind "but"; empty where it can have them.
std::string complaint_about_sync_phases(const Schedule& schedule, PipelineShape shape);

/// Batches b < first and b >= final_begin run as 1f1b does: the pipeline is flushed and b reads
/// W(b). Those between run as `delayed` does from its start, with W(first) as its first weights: if
/// that reads W(f(b)), b reads W(first + f(b - first)). At final_begin the delayed part has drained
/// as at the end of a run, so that W(final_begin) is there. 0 <= first <= final_begin, otherwise
/// std::invalid_argument. Only for shapes without complaint_about_sync_phases, and those of 1f1b.
Schedule with_sync_phases(Schedule delayed, std::int64_t first, std::int64_t final_begin);

/// Proves runs with phases of any length: `delayed` by itself, and then where they meet.
///
/// A stage updates together with all others, so when it ends a phase, all have done all its work
/// and taken all its messages. It contributes to the next batch only when that has been through all
/// stages, so all have then ended the phase and collected its reductions. Nothing but the newest
/// weights and their number is left of it: a run is valid if each phase by itself is, 1f1b and
/// `delayed`, and if each begins with the number at which the one before ended. The latter holds or
/// breaks for all lengths alike, so short ones are executed: synchronous phases of 1 and 2 batches
/// around delayed ones of 1 to 3, and runs that are cut short anywhere in them. Takes some four
/// times as long as validate().
Verdict validate_sync_phases(const Schedule& delayed, PipelineShape shape);

/// Errors: UserError "[schedule] ..." as of require_valid(), or with complaint_about_sync_phases.
void require_valid_sync_phases(const Schedule& delayed, PipelineShape shape);

}  // namespace penstock::schedule
