#pragma once
// Cuts: where a run's state can be taken without draining the pipeline, to go on from it later.
//
// The cut at t is every stage right behind its update to W(t). What is before it on any stage is
// its past. The cut is regular in a run that has all batches which had been asked for in that past,
// the first begun_at(t): then the past is that of a run without end, whatever the run's length, and
// a run that begins again at the cut goes on with the same actions. (Where a run ends, the pipeline
// drains, and updates come in another order.) All stages must agree on that, so behind the update
// each asks for batches t to begun_at(t) - 1, in turn, until one does not exist.
//
// That asks for nothing too early and cannot block for ever, if for every t
//   (1) stage 0 asks for begun_at(t) batches before its cut, and no stage for more,
//   (2) no message is received before its receiver's cut that is sent behind its sender's,
//   (3) those sent before and received behind it (in transit) fit into their channel,
//   (4) all stages have collected the same reductions: to these, all have then contributed.
// Stage 0 then asks again for batches that are decided. In the past of t every receive waits for a
// send, every send for a receive that makes room, every collect for contributes and every question
// for a decision that are all in that past: nothing in it waits for a stage that asks at t, and so
// neither does the decision that this stage waits for. If a batch b < begun_at(t) does not exist,
// every stage has done the same as without end before it asked for b itself, and until then the
// same holds. Evaluations of W(t) come behind the cut on every stage.
//
// (4) also leaves no reduction half collected. Two more rules make the state known in time and
// small:
//   (5) what is in transit to a stage is received before its update t + 1,
//   (6) no micro-batch is between its dX and its dW, where gradients of many tensors exist.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "schedule/schedule.h"

namespace penstock::schedule {

/// The first broken rule of (1) to (6), of all cuts of a run without end: one line, without what to
/// set; empty if there is none. The schedule must be a valid one. Produces the compute actions of
/// all stages until those between two updates repeat, some 50 ns each.
std::string complaint_about_cuts(const Schedule& schedule, PipelineShape shape);

/// The same for the cuts at 1 to `updates`; for runs that do not go on as they begin.
std::string complaint_about_cuts(const Schedule& schedule, PipelineShape shape,
                                 std::int64_t updates);

/// The same for with_sync_phases(delayed, ...) of any lengths: of the delayed part by itself, and
/// of short phases around it (sync_phases.h says why that is enough).
std::string complaint_about_cuts_with_sync_phases(const Schedule& delayed, PipelineShape shape);

/// Messages to one chunk of a stage that are in transit at a cut. Evaluations never are.
struct InTransit {
  std::int64_t activations = 0;
  std::int64_t gradients = 0;

  friend bool operator==(const InTransit&, const InTransit&) = default;
};

/// By chunk. Produces the actions up to the cut.
std::vector<InTransit> in_transit(const Schedule& schedule, PipelineShape shape, int stage,
                                  std::int64_t cut);

struct CapturePlan {
  std::function<bool(std::int64_t version)> due;
  std::function<std::int64_t(std::int64_t version)> begun;  // Schedule::begun_at
};

/// Inserts a capture right behind the updates to versions that are due and where the cut is
/// regular. has_batch is asked for batches that this stage is not yet about to start.
ActionStream with_capture(ActionStream stream, CapturePlan plan, HasBatch has_batch);

/// The stream from behind the update to W(cut) on. Errors: std::logic_error from next() if it has
/// no such update.
ActionStream resumed(ActionStream stream, std::int64_t cut);

}  // namespace penstock::schedule
