#pragma once
// Executes a schedule in simulated time.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schedule/schedule.h"
#include "simulate/costs.h"
#include "timeline/timeline.h"
#include "timeline/usage.h"

namespace penstock::simulate {

struct Request {
  const schedule::Schedule* schedule = nullptr;
  schedule::PipelineShape shape;
  std::int64_t batches = 8;
  const Costs* costs = nullptr;
  bool record = false;  // keep every span: memory grows with the number of actions
};

struct StageResult {
  timeline::Usage usage;            // in the steady window
  double bubble_fraction = 0;       // of the steady window
  std::int64_t peak_in_flight = 0;  // chunk activations
  double peak_bytes = 0;            // activations, weight versions, gradients, optimizer
  /// Least seconds between a reduction's result and this stage's need of it, over the batches of
  /// the steady window: negative where it waits. None where no reduction was collected.
  std::optional<double> slack;
  /// The same for each batch from 0 on, fill and drain included: of the first ones, as many as make
  /// most_slacks with all stages (but one at least), if the stage came that far.
  std::vector<double> slacks;
};
inline constexpr std::int64_t most_slacks = 4096;

/// The steady window leaves fill and drain out. It runs from the end of batch n/4 to the end of the
/// last batch that no stage drains in: n - 2 for up to m + 1 stages, earlier for more, n - 1 for
/// one. Every stage is measured between its own ends of these batches, its contributes, so that its
/// waits and work add up to the time between them. A run too short for that, or one that came to a
/// stop, is measured as a whole: then window_first is -1.
struct Result {
  double step_time = 0;               // seconds per batch in the steady window
  double total_time = 0;              // of the whole run, with fill and drain
  double bubble_fraction = 0;         // of the steady window, over all stages
  double total_bubble_fraction = 0;   // of the whole run
  std::int64_t window_first = -1;     // the steady window runs from the end of this batch
  std::int64_t window_last = 0;       // to the end of this one
  std::optional<double> slack;        // least over the stages, seconds
  std::optional<double> slack_pairs;  // the same in F,B pairs of the slowest stage
  std::int64_t actions = 0;           // with the transfers
  std::int64_t batches_done = 0;      // updates that every stage has made
  std::vector<StageResult> stages;
  /// Where the run came to a stop before its end (a failure, a deadlock): what every stage waits
  /// for and since when. Empty after a complete run.
  std::vector<std::string> stuck;
  std::optional<timeline::Timeline> timeline;
};

/// The time of every action follows from its stage's order, its messages and the costs; there is no
/// event queue. Every action takes max(stage's clock, its message, room on its edge or its
/// reduction) plus its duration, so results do not depend on the order in which stages are worked
/// on. Memory is bounded by the edges' capacities unless `record`. A batch ends on a stage with its
/// contribute. Errors: UserError where the shape does not fit the schedule or the costs, and
/// std::logic_error where a stage receives another micro-batch than its neighbour sent.
Result simulate(const Request& request);

}  // namespace penstock::simulate
