#pragma once
// Proves that a schedule works before anything is allocated.
//
// Rules of one stage are in stage_rules.h; by them every piece takes its micro-batches in order, so
// each receive gets the message it names. Between stages: with updates_together that message was
// made with the same weights; a stage contributes to a reduction only when all stages have, by
// necessity, collected the one whose place it takes; and the run comes to its end with the
// channels' actual capacities.
//
// One order of execution is enough to prove the last: the stages are sequential programs that
// only wait for messages, for room in a channel with one sender and one receiver, for a reduction,
// or for the first stage's decision that a batch exists. None of these, once possible, becomes
// impossible by what others do first (a Kahn network), so all orders execute the same actions.
// What a stage must have done before another's action, in all orders, is followed with a clock of
// collected reductions that travels with the messages.
//
// Executed are runs of 1, 2 and 3 batches, and one of n, so long that every stage's actions between
// two contributes repeat, shifted by a whole number p of batches, three times in the same batches.
// All rules hold or break independently of such a shift, and what precedes and follows the
// repetition is in that run too, so they hold for every run in which it goes on longer, by a
// multiple of p. For the lengths in between, runs of up to n + p - 1 batches are executed as well.
// A schedule that does not repeat within 4 batches is refused. Of runs of 4 to n - 1 batches
// nothing is proved.
//
// Each run is executed twice, the second time with an evaluation behind every update. It has d + 1
// micro-batches, more than an edge holds: of two neighbouring stages, neither ends it before the
// other begins it. So if one needs, before it begins, what a neighbour does only after the end
// (sends, or takes to make room), that is a deadlock here. Reductions cannot need that: what was
// collected before an update was contributed before it. Decisions about batches are held to that
// by a rule. Hence in a schedule that passes nothing in front of an evaluation depends on what is
// behind it, and it stands any number of micro-batches; fewer evaluations only spare waits.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schedule/schedule.h"
#include "schedule/stage_rules.h"

namespace penstock::schedule {

/// First broken rule of a schedule.
struct Violation {
  std::string rule;     // short name, e.g. "order of micro-batches"
  std::string message;  // one line: rule, place, actual values, what to do
  int stage = 0;
  std::int64_t index = 0;    // into that stage's actions with transfers; their number at the end
  std::int64_t batches = 0;  // of the run in which it was found
  std::string grid;          // the neighbourhood with the bad cell marked
};

struct Verdict {
  std::optional<Violation> violation;
  std::vector<StageFacts> stages;  // measured in the longest run, without evaluations
  int reductions = 0;              // most that were needed at the same time, in that run
  std::int64_t batches = 0;        // of that run
  int period = 1;                  // batches after which the actions repeat
};

/// Executes the schedule. The shape must be one without complaint.
/// Memory: what is in flight, not the number of actions, and one number per batch; up to d numbers
/// for every message in flight and every reduction under way.
/// Time: some 70 ns per action of the runs, and d numbers are compared or copied for every
/// reduction that a stage collects or is told of. Mostly n is 6 or 8. But it grows with the delay
/// and the batches in flight: to 4 d where stages update alone and m is 1, which with evaluations
/// are 12 d^3 actions, 1.5 s for d = 128.
Verdict validate(const Schedule& schedule, PipelineShape shape);

/// About as many actions are executed by validate() if the schedule passes with period 1; not an
/// integer, since those of a shape that is much too large may be too many for one.
double actions_to_validate(const Schedule& schedule, PipelineShape shape);

/// Holds given actions, with transfers, of all stages of a run to what the schedule promises;
/// `schedule.generate` is not called.
Verdict validate_run(const Schedule& schedule, PipelineShape shape, Run run,
                     const std::vector<std::vector<Action>>& stages);

/// Executes runs of only this length, without evaluations and with them; `period` is not looked
/// for.
Verdict validate_length(const Schedule& schedule, PipelineShape shape, std::int64_t batches);

/// Errors: UserError "[schedule] ...", one clear line and then the grid, if there is a violation.
void require(const Verdict& verdict, const Schedule& schedule, PipelineShape shape);

/// Errors: those of check_shape() and require().
void require_valid(const Schedule& schedule, PipelineShape shape);

}  // namespace penstock::schedule
