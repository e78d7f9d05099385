#pragma once
// Executes the actions of all stages in some possible order and checks them against the rules.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "schedule/order_grid.h"
#include "schedule/schedule.h"
#include "schedule/stage_rules.h"

namespace penstock::schedule {

/// The actions of one stage, one by one, and the questions about batches it has asked so far.
struct ActionSource {
  std::function<std::optional<Action>()> next;
  /// The highest batch asked for and the first question out of turn, both -1 if there is none.
  /// Null where actions come from a list.
  const std::int64_t* asked = nullptr;
  const std::int64_t* out_of_turn = nullptr;
};

struct Failure {
  BrokenRule broken;
  int stage = 0;
  std::int64_t index = 0;
  std::int64_t slot = 0;
  std::optional<Action> action;      // none: at the end of the stage
  std::vector<std::string> waiting;  // of a deadlock: what every stuck stage waits for
};

struct ExecutionResult {
  std::optional<Failure> failure;
  std::vector<StageFacts> stages;
  int reductions = 0;
  /// Most whose totals some stage had yet to collect, in the order of execution that was taken.
  int reductions_kept = 0;
  /// Batches after which all stages' actions repeat (repetition.h), a block being the actions up to
  /// and with a contribute since the one before, with batches and versions counted from its batch;
  /// 0 if they do not.
  int period = 0;
  std::vector<std::vector<OrderCell>> cells;  // if asked for
};

/// Slots, of which each work takes one, in which cells are wanted.
struct SlotWindow {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

/// Runs every stage as far as it gets, in turn, until all are done or stuck. With a window, also
/// draws what happened in it and what would have come next.
ExecutionResult execute(const Schedule& schedule, PipelineShape shape, Run run,
                        std::vector<ActionSource> sources, std::optional<SlotWindow> window);

}  // namespace penstock::schedule
