// Hand-made mistakes: each is caught by the rule it breaks.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "schedule/compute.h"
#include "schedule/validate.h"
#include "schedule/validated.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using enum ActionKind;

std::size_t position(const std::vector<Action>& actions, ActionKind kind, std::int64_t batch,
                     std::int64_t micro_batch = 0, std::int32_t chunk = 0) {
  const auto found = std::ranges::find_if(actions, [&](const Action& action) {
    return action.kind == kind && action.batch == batch && action.micro_batch == micro_batch &&
           action.chunk == chunk;
  });
  EXPECT_NE(found, actions.end());
  return static_cast<std::size_t>(found - actions.begin());
}

Action& find_action(std::vector<Action>& actions, ActionKind kind, std::int64_t batch,
                    std::int64_t micro_batch = 0, std::int32_t chunk = 0) {
  return actions[position(actions, kind, batch, micro_batch, chunk)];
}

void drop(std::vector<Action>& actions, ActionKind kind, std::int64_t batch,
          std::int64_t micro_batch = 0, std::int32_t chunk = 0) {
  actions.erase(actions.begin() +
                static_cast<std::ptrdiff_t>(position(actions, kind, batch, micro_batch, chunk)));
}

/// Moves `kind` of `batch` right before another action.
void move_before(std::vector<Action>& actions, Action what, ActionKind kind, std::int64_t batch,
                 std::int64_t micro_batch = 0) {
  drop(actions, what.kind, what.batch, what.micro_batch);
  const auto to = position(actions, kind, batch, micro_batch);
  actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(to), what);
}

struct Mistake {
  std::string schedule;
  PipelineShape shape;
  std::function<void(Lists&)> make;
  std::string message;
  std::int64_t batches = 3;
  EvaluationPlan evaluation = {};
  /// Changes what the schedule declares of every stage, so that no other rule catches it first.
  std::function<void(StageLimits&)> declare = [](StageLimits&) {};
};

const Mistake mistakes[] = {
    {"1f1b",
     {2, 3},
     [](Lists& lists) {
       Action copy = find_action(lists[1], update, 0);
       copy.kind = capture;
       const auto behind = position(lists[1], update, 0) + 1;
       lists[1].insert(lists[1].begin() + static_cast<std::ptrdiff_t>(behind), copy);
     },
     "captures: stage 1, capture of the state behind the update to weights W(1): they are no part "
     "of a schedule, but added where a run needs them"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[0], forward, 1, 1).micro_batch = 3; },
     "numbers in range: stage 0, forward of micro-batch 3 of batch 1 (weights W(1)): a batch has "
     "the micro-batches 0 to 2"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[0], forward, 1, 1).batch = 3; },
     "numbers in range: stage 0, forward of micro-batch 1 of batch 3 (weights W(1)): this run has "
     "the batches 0 to 2"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[0], forward, 1, 1).chunk = 1; },
     "numbers in range: stage 0, forward of micro-batch 1 of batch 1 on chunk 1 (weights W(1)): a "
     "stage has 1 chunk here, numbered from 0"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[0], contribute, 1).version = 7; },
     "numbers in range: stage 0, contribute of batch 1: it must carry version 2, micro-batch 0 and "
     "chunk 0, not 7, 0 and 0"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[0], contribute, 1).batch = -1; },
     "numbers in range: stage 0, contribute of batch -1: this run has the batches 0 to 2"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { drop(lists[1], receive_activation, 1, 2); },
     "transfers next to their work: stage 1, forward of micro-batch 2 of batch 1 (weights W(1)): "
     "receive_activation of micro-batch 2 of batch 1 (weights W(1)) must come right before it"},
    {"pipedream",
     {2, 3},
     [](Lists& lists) { find_action(lists[1], receive_activation, 1, 2).version = 0; },
     "transfers next to their work: stage 1, forward of micro-batch 2 of batch 1 (weights W(1)): "
     "forward of micro-batch 2 of batch 1 (weights W(0)) must come here, right after the action "
     "before"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { find_action(lists[1], receive_activation, 1, 2).batch = 0; },
     "transfers next to their work: stage 1, forward of micro-batch 2 of batch 1 (weights W(1)): "
     "forward of micro-batch 2 of batch 0 (weights W(1)) must come here, right after the action "
     "before"},
    {"interleaved",
     {2, 2, 2},
     [](Lists& lists) { find_action(lists[0], send_activation, 1, 1).chunk = 1; },
     "transfers next to their work: stage 0, send_activation of micro-batch 1 of batch 1 on chunk "
     "1 (weights W(1)): send_activation of micro-batch 1 of batch 1 (weights W(1)) must come here, "
     "right after the action before"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { drop(lists[0], send_activation, 1, 2); },
     "transfers next to their work: stage 0, receive_gradient of micro-batch 1 of batch 1 (weights "
     "W(1)): send_activation of micro-batch 2 of batch 1 (weights W(1)) must come here, right "
     "after the action before"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) { drop(lists[0], forward, 0, 2); },
     "transfers next to their work: stage 0, send_activation of micro-batch 2 of batch 0 (weights "
     "W(0)): it sends what the action right before it did not make"},
    {"1f1b",
     {2, 3},
     [](Lists& lists) {
       find_action(lists[0], send_activation, 0, 2).kind = receive_activation;
       drop(lists[0], forward, 0, 2);
     },
     "transfers next to their work: stage 0, receive_activation of micro-batch 2 of batch 0 "
     "(weights W(0)): piece 0 of the model, which it is for, is at the end and takes nothing"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { lists[0].insert(lists[0].begin() + 2, lists[0][0]); },
     "each micro-batch once: stage 0, forward of micro-batch 0 of batch 0 (weights W(0)): it was "
     "done before; micro-batch 1 of batch 0 is next"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) {
       drop(lists[0], backward, 2, 2);
       drop(lists[0], forward, 2, 2);
       drop(lists[0], contribute, 2);
       drop(lists[0], await_reduction, 2);
       drop(lists[0], update, 2);
     },
     "each micro-batch once: stage 0, end of its actions: micro-batch 2 of batch 2 has no forward"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { std::swap(lists[0][2], lists[0][4]); },
     "order of micro-batches: stage 0, forward of micro-batch 2 of batch 0 (weights W(0)): "
     "micro-batch 1 of batch 0 is next"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { std::swap(lists[0][0], lists[0][1]); },
     "forward before backward: stage 0, backward of micro-batch 0 of batch 0 (weights W(0)): its "
     "forward has not been done"},
    {"zb-h1",
     {1, 3},
     [](Lists& lists) {
       std::swap(find_action(lists[0], backward_input, 2, 2),
                 find_action(lists[0], backward_weight, 2, 2));
     },
     "dX before dW: stage 0, backward_weight of micro-batch 2 of batch 2 (weights W(2)): its dX "
     "has not been done"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { find_action(lists[0], forward, 1).version = 2; },
     "weights exist: stage 0, forward of micro-batch 0 of batch 1 (weights W(2)): the newest "
     "weights here are W(1); update earlier or read those"},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { find_action(lists[0], forward, 1, 1).version = 0; },
     "weights are still kept: stage 0, forward of micro-batch 1 of batch 1 (weights W(0)): the "
     "stage keeps 1 version and has overwritten W(0) by W(1); keep more or update later"},
    {"pipedream",
     {3, 1},
     [](Lists& lists) { find_action(lists[2], backward, 2).version = 1; },
     "same weights in forward and backward: stage 2, backward of micro-batch 0 of batch 2 (weights "
     "W(1)): its forward read W(2)"},
    {"zb-h1",
     {1, 3},
     [](Lists& lists) { find_action(lists[0], backward_weight, 2, 2).version = 1; },
     "same weights in forward and backward: stage 0, backward_weight of micro-batch 2 of batch 2 "
     "(weights W(1)): its dX read W(2)"},
    {"pipedream",
     {3, 2},
     [](Lists& lists) {
       find_action(lists[0], forward, 2, 1).version = 0;
       find_action(lists[0], send_activation, 2, 1).version = 0;
     },
     "delay of gradients: stage 0, forward of micro-batch 1 of batch 2 (weights W(0)): its "
     "gradient is 2 updates old when it is applied, but the schedule declares 1 to 1; read other "
     "weights or declare it"},
    {"1f1b",
     {1, 2},
     [](Lists&) {},
     "delay of gradients: stage 0, forward of micro-batch 0 of batch 1 (weights W(1)): its "
     "gradient is 0 updates old when it is applied, but the schedule declares 1 to 1; read other "
     "weights or declare it",
     3,
     {},
     [](StageLimits& limits) { limits.least_delay = limits.most_delay = 1; }},
    {"paci",
     {1, 2},
     [](Lists& lists) { find_action(lists[0], forward, 1, 1).version = 0; },
     "newest weights: stage 0, forward of micro-batch 1 of batch 1 (weights W(0)): without stashed "
     "weights it must read the newest, W(1)",
     3,
     {},
     [](StageLimits& limits) { limits.versions = 2; }},
    {"paci",
     {1, 2},
     [](Lists& lists) { find_action(lists[0], backward, 1, 1).version = 0; },
     "newest weights: stage 0, backward of micro-batch 1 of batch 1 (weights W(0)): without "
     "stashed weights it must read the newest, W(1)",
     3,
     {},
     [](StageLimits& limits) { limits.versions = 2; }},
    {"2bw",
     {2, 2},
     [](Lists& lists) {
       find_action(lists[1], receive_activation, 2).version = 0;
       find_action(lists[1], forward, 2).version = 0;
     },
     "same weights on all stages: stage 1, receive_activation of micro-batch 0 of batch 2 (weights "
     "W(0)): stage 0 made the message with W(1)",
     3,
     {},
     [](StageLimits& limits) { limits.most_delay = limits.versions = 2; }},
    {"1f1b",
     {2, 2},
     [](Lists& lists) { move_before(lists[0], compute::contribute(1), receive_gradient, 1, 1); },
     "contribute after the last backward: stage 0, contribute of batch 1: micro-batch 1 of batch 1 "
     "is next to be differentiated"},
    {"1f1b",
     {1, 2},
     [](Lists& lists) { move_before(lists[0], compute::contribute(1), contribute, 0); },
     "order of batches: stage 0, contribute of batch 1: batch 0 is the next to contribute to its "
     "reduction"},
    {"2bw",
     {1, 2},
     [](Lists& lists) { drop(lists[0], contribute, 0); },
     "order of batches: stage 0, contribute of batch 1: batch 0 is the next to contribute to its "
     "reduction"},
    {"2bw",
     {1, 2},
     [](Lists& lists) {
       std::swap(find_action(lists[0], await_reduction, 1),
                 find_action(lists[0], await_reduction, 2));
     },
     "order of batches: stage 0, await_reduction of batch 2: batch 1 is the next whose reduction "
     "is to be awaited"},
    {"pipedream",
     {1, 2},
     [](Lists& lists) { find_action(lists[0], update, 1) = compute::update(2); },
     "order of batches: stage 0, update to weights W(3) from batch 2: W(1) are the newest weights, "
     "so batch 1 is next to update"},
    {"2bw",
     {2, 2},
     [](Lists& lists) { move_before(lists[0], compute::await_reduction(1), update, 0); },
     "contribute before waiting: stage 0, await_reduction of batch 1: the stage waits for its own "
     "share: contribute must come first"},
    {"pipedream",
     {2, 2},
     [](Lists& lists) { move_before(lists[1], compute::await_reduction(0), update, 0); },
     "contribute before waiting: stage 1, await_reduction of batch 0: where stages update alone, "
     "the update comes first"},
    {"pipedream",
     {2, 2},
     [](Lists& lists) {
       std::swap(find_action(lists[1], contribute, 1), find_action(lists[1], update, 1));
     },
     "update after its reduction: stage 1, update to weights W(2) from batch 1: the stage has not "
     "contributed to batch 1"},
    {"2bw",
     {2, 2},
     [](Lists& lists) { move_before(lists[1], compute::update(0), await_reduction, 0); },
     "update after its reduction: stage 1, update to weights W(1) from batch 0: await_reduction of "
     "batch 0 must be the last one before it"},
    {"2bw",
     {1, 2},
     [](Lists& lists) { move_before(lists[0], compute::await_reduction(1), update, 0); },
     "update after its reduction: stage 0, update to weights W(1) from batch 0: await_reduction of "
     "batch 0 must be the last one before it"},
    {"2bw",
     {3, 3},
     [](Lists&) {},
     "no overwriting under a reader: stage 1, update to weights W(1) from batch 0: W(1) would "
     "overwrite W(0), which a forward in flight has read; keep more than 1 version or update later",
     3,
     {},
     [](StageLimits& limits) { limits.versions = 1; }},
    {"2bw",
     {2, 2},
     [](Lists&) {},
     "gradient buffers: stage 1, forward of micro-batch 0 of batch 1 (weights W(0)): gradients of "
     "batches 0 to 1 exist, 2 in all, but the stage keeps 1; update earlier or declare more",
     3,
     {},
     [](StageLimits& limits) { limits.gradient_buffers = 1; }},
    {"zb-h1",
     {2, 3},
     [](Lists&) {},
     "gradient buffers: stage 1, forward of micro-batch 0 of batch 0 (weights W(0)): gradients of "
     "batches 0 to 0 exist, 1 in all, but the stage keeps 0; update earlier or declare more",
     3,
     {},
     [](StageLimits& limits) { limits.gradient_buffers = 0; }},
    {"1f1b",
     {1, 3},
     [](Lists& lists) { std::swap(lists[0][1], lists[0][2]); },
     "activations in flight: stage 0, forward of micro-batch 1 of batch 0 (weights W(0)): 2 chunk "
     "activations are kept at a time, but the limit is 1; run a backward first or declare more"},
    {"1f1b",
     {1, 2},
     [](Lists& lists) {
       drop(lists[0], contribute, 2);
       drop(lists[0], await_reduction, 2);
       drop(lists[0], update, 2);
     },
     "nothing left at the end: stage 0, end of its actions: batch 2 has not contributed to its "
     "reduction"},
    {"1f1b",
     {1, 2},
     [](Lists& lists) { drop(lists[0], update, 2); },
     "nothing left at the end: stage 0, end of its actions: the update from batch 2 is missing"},
    {"pipedream",
     {2, 2},
     [](Lists& lists) { drop(lists[1], await_reduction, 2); },
     "nothing left at the end: stage 1, end of its actions: the reduction of batch 2 has not been "
     "awaited"},
    {"paci",
     {3, 1},
     [](Lists& lists) { move_before(lists[0], compute::await_reduction(0), contribute, 4); },
     "reductions under way: stage 2, contribute of batch 5: stage 0 may not have collected the "
     "reduction of batch 0 yet, so 6 are under way, but the schedule declares 5; collect earlier "
     "or declare more",
     8},
    {"1f1b",
     {2, 2},
     [](Lists& lists) {
       drop(lists[0], evaluate, 2, 1);
       drop(lists[0], send_evaluation, 2, 1);
     },
     "progress: no stage can go on: stage 0 waits for stage 1 in receive_gradient of micro-batch 0 "
     "of batch 2 (weights W(2)); stage 1 waits for stage 0 in receive_evaluation of validation "
     "micro-batch 1 (weights W(2))",
     3,
     {.every = 2, .micro_batches = 2}},
    {"1f1b",
     {2, 2},
     [](Lists& lists) { lists[0].pop_back(); },
     "transfers next to their work: stage 0, end of its actions: send_evaluation of validation "
     "micro-batch 1 (weights W(3)) is missing",
     3,
     {.every = 3, .micro_batches = 2}},
    {"1f1b",
     {1, 2},
     [](Lists& lists) { drop(lists[0], evaluate, 2, 1); },
     "evaluations: stage 0, update to weights W(3) from batch 2: W(2) has not been evaluated",
     3,
     {.every = 2, .micro_batches = 2}},
    {"1f1b",
     {1, 2},
     [](Lists& lists) { find_action(lists[0], evaluate, 2, 1).version = 1; },
     "evaluations: stage 0, evaluate of validation micro-batch 1 (weights W(1)): only the newest "
     "weights, W(2), are evaluated, where the plan says so",
     3,
     {.every = 2, .micro_batches = 2}},
    {"1f1b",
     {1, 2},
     [](Lists& lists) { find_action(lists[0], evaluate, 2, 1).micro_batch = 0; },
     "evaluations: stage 0, evaluate of validation micro-batch 0 (weights W(2)): 1 of 2 validation "
     "micro-batches are done",
     3,
     {.every = 2, .micro_batches = 2}},
    {"1f1b",
     {2, 3},
     [](Lists& lists) {
       lists[1] = lower(find("gpipe"), {2, 3}, 3)[1];
     },
     "progress: no stage can go on: stage 0 waits for stage 1 in receive_gradient of micro-batch 0 "
     "of batch 0 (weights W(0)); stage 1 waits for stage 0 in receive_activation of micro-batch 2 "
     "of batch 0 (weights W(0))",
     3,
     {},
     [](StageLimits& limits) { limits.in_flight = 3; }},
    {"2bw",
     {2, 2},
     [](Lists& lists) {
       for (const auto& late : {compute::contribute(0), compute::contribute(1),
                                compute::await_reduction(0), compute::update(0)}) {
         move_before(lists[1], late, receive_activation, 2, 1);
       }
       for (const auto kind : {receive_activation, forward, backward, send_gradient}) {
         find_action(lists[1], kind, 2).version = 0;
       }
     },
     "progress: no stage can go on: stage 0 waits for the share of stage 1 in the reduction of "
     "batch 0; stage 1 waits for stage 0 in receive_activation of micro-batch 0 of batch 2 "
     "(weights W(0))",
     3,
     {},
     [](StageLimits& limits) {
       limits.most_delay = limits.versions = 2;
       limits.gradient_buffers = 3;
     }},
};

TEST(Validate, EveryMistakeIsCaughtByTheRuleItBreaks) {
  for (const auto& mistake : mistakes) {
    const auto schedule = declaring(find(mistake.schedule), mistake.declare);
    const auto shape = mistake.shape;
    const schedule::Run run{mistake.batches, mistake.evaluation};
    auto lists = lower(schedule, shape, run.batches, run.evaluation);
    mistake.make(lists);
    const auto verdict = validate_run(schedule, shape, run, lists);
    EXPECT_EQ(verdict.violation ? verdict.violation->message : "none", mistake.message);
  }
}

TEST(Validate, AReductionTellsWhatItsContributorsHaveCollected) {
  const PipelineShape shape{2, 1};
  Schedule schedule = find("pipedream");
  schedule.reductions = [](PipelineShape) { return 2; };
  auto lists = lower(schedule, shape, 4);
  EXPECT_TRUE(validate_run(schedule, shape, {4, {}}, lists).violation);
  // Stage 0 collects batch b right before it contributes to b + 1, which stage 1 waits for before
  // it starts b + 2: no message has said so by then.
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    move_before(lists[0], compute::await_reduction(batch), contribute, batch + 1);
    move_before(lists[1], compute::await_reduction(batch), receive_activation, batch + 1);
  }
  const auto verdict = validate_run(schedule, shape, {4, {}}, lists);
  EXPECT_FALSE(verdict.violation) << verdict.violation->message;
  EXPECT_EQ(verdict.reductions, 2);
}

}  // namespace
}  // namespace penstock::schedule
