#include "schedule/validate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/compute.h"
#include "schedule/execution.h"
#include "schedule/grid_file.h"
#include "schedule/symbolic.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using tests::symbolic_outcome;
using enum ActionKind;
using Lists = std::vector<std::vector<Action>>;

std::string text(const Schedule& schedule, PipelineShape shape) {
  return fmt::format("{} d={} m={} v={}", schedule.name, shape.stages, shape.micro_batches,
                     shape.chunks);
}

void for_each_shape(int most_stages, int most_micro_batches,
                    const std::function<void(const Schedule&, PipelineShape)>& check) {
  for (const auto& schedule : registry()) {
    for (int d = 1; d <= most_stages; ++d) {
      for (int m = 1; m <= most_micro_batches; ++m) {
        for (int v = 1; v <= 3; ++v) {
          const PipelineShape shape{d, m, v};
          if (schedule.complaint(shape).empty()) check(schedule, shape);
        }
      }
    }
  }
}

/// What a stage needs is exactly what the schedule declares: no limit is too loose.
void expect_tight(const StageFacts& facts, const StageLimits& limits) {
  EXPECT_EQ(facts.versions, limits.versions);
  EXPECT_EQ(facts.gradient_buffers, limits.gradient_buffers);
  EXPECT_EQ(facts.in_flight, limits.in_flight);
  EXPECT_EQ(facts.least_delay, limits.least_delay);
  EXPECT_EQ(facts.most_delay, limits.most_delay);
}

TEST(Validate, EverySchedulePassesInEveryShapeAndItsLimitsAreTight) {
  int shapes = 0;
  for_each_shape(16, 32, [&](const Schedule& schedule, PipelineShape shape) {
    SCOPED_TRACE(text(schedule, shape));
    const auto verdict = validate(schedule, shape);
    ++shapes;
    ASSERT_FALSE(verdict.violation) << verdict.violation->message << '\n'
                                    << verdict.violation->grid;
    EXPECT_EQ(verdict.period, 1);
    EXPECT_LE(verdict.reductions, schedule.reductions(shape));
    if (!schedule.updates_together) {
      EXPECT_EQ(verdict.reductions, schedule.reductions(shape));
    }
    for (int s = 0; s < shape.stages; ++s) {
      expect_tight(verdict.stages[static_cast<std::size_t>(s)], schedule.limits(s, shape));
    }
  });
  // 5 schedules run in all 512 shapes, zb-v too, with two chunks; 2bw where m >= d; interleaved
  // with two and three chunks where d divides m.
  int divisible = 0;
  int filled = 0;
  for (int d = 1; d <= 16; ++d) {
    for (int m = 1; m <= 32; ++m) {
      divisible += m % d == 0;
      filled += m >= d;
    }
  }
  EXPECT_EQ(shapes, 6 * 512 + filled + 2 * divisible);
}

TEST(Validate, RunsOfEveryLengthPass) {
  for_each_shape(4, 5, [](const Schedule& schedule, PipelineShape shape) {
    for (std::int64_t batches = 1; batches <= 9; ++batches) {
      SCOPED_TRACE(text(schedule, shape) + fmt::format(" batches={}", batches));
      const EvaluationPlan plan{.every = 2, .micro_batches = 3};
      const auto lists = lower(schedule, shape, batches, plan);
      const auto verdict = validate_run(schedule, shape, {batches, plan}, lists);
      ASSERT_FALSE(verdict.violation) << verdict.violation->message;
    }
  });
}

TEST(Validate, LargePipelinesAreNoProblem) {
  for (const auto& schedule : registry()) {
    const PipelineShape shape{64, 128, schedule.default_chunks};
    EXPECT_FALSE(validate(schedule, shape).violation) << schedule.name;
  }
}

// Hand-made mistakes: each is caught by the rule it breaks.

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

Schedule declaring(Schedule schedule, const std::function<void(StageLimits&)>& declare) {
  schedule.limits = [limits_of = schedule.limits, declare](int stage, PipelineShape shape) {
    StageLimits limits = limits_of(stage, shape);
    declare(limits);
    return limits;
  };
  return schedule;
}

const Mistake mistakes[] = {
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

// Mistakes of generators.

Schedule with_generator(std::string_view name,
                        std::function<ActionStream(int, PipelineShape, HasBatch)> generate) {
  Schedule schedule = find(name);
  schedule.generate = std::move(generate);
  return schedule;
}

ActionStream one_batch(int, PipelineShape, HasBatch) {
  for (const auto& action :
       {compute::forward(0, 0, 0), compute::backward(0, 0, 0), compute::contribute(0),
        compute::await_reduction(0), compute::update(0)}) {
    co_yield action;
  }
}

ActionStream asks_too_far(int, PipelineShape, HasBatch has_batch) {
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    has_batch(batch + 2);
    const Action action = compute::forward(batch, 0, batch);
    co_yield action;
  }
}

/// 1f1b, but every stage asks for the next batch before the last stage has done its dues.
ActionStream asks_too_early(int stage, PipelineShape shape, HasBatch has_batch) {
  auto actions = find("1f1b").generate(stage, shape, has_batch);
  for (auto action = actions.next(); action; action = actions.next()) {
    if (stage == 1 && action->kind == backward) has_batch(action->batch + 1);
    co_yield *action;
  }
}

/// gpipe or 1f1b by the Thue-Morse sequence, in which nothing comes three times in a row.
ActionStream never_repeats(int stage, PipelineShape shape, HasBatch has_batch) {
  auto first = find("gpipe").generate(stage, shape, has_batch);
  auto then = find("1f1b").generate(stage, shape, has_batch);
  while (true) {
    const auto a = first.next();
    const auto b = then.next();
    if (!a || !b) break;
    const bool odd = std::popcount(static_cast<std::uint64_t>(a->batch)) % 2 == 1;
    const auto& chosen = odd ? *b : *a;
    co_yield chosen;
  }
}

/// 1f1b in odd batches, gpipe in even ones.
ActionStream alternates(int stage, PipelineShape shape, HasBatch has_batch) {
  auto even = find("gpipe").generate(stage, shape, has_batch);
  auto odd = find("1f1b").generate(stage, shape, has_batch);
  while (true) {
    const auto a = even.next();
    const auto b = odd.next();
    if (!a || !b) break;
    const auto& chosen = a->batch % 2 == 0 ? *a : *b;
    co_yield chosen;
  }
}

std::string message(const Verdict& verdict) {
  return verdict.violation ? verdict.violation->message : "none";
}

TEST(Validate, BatchesAreAskedForInTurn) {
  EXPECT_EQ(message(validate(with_generator("1f1b", one_batch), {1, 1})),
            "batches in turn: stage 0, forward of micro-batch 0 of batch 0 (weights W(0)): the "
            "stage has not asked whether the run has batch 0");
  EXPECT_EQ(message(validate(with_generator("1f1b", asks_too_far), {1, 1})),
            "batches in turn: stage 0, forward of micro-batch 0 of batch 0 (weights W(0)): the "
            "stage asks whether the run has batch 2, but the next one it can start is 1; ask when "
            "about to start it");
  EXPECT_EQ(
      message(validate(with_generator("1f1b", asks_too_early), {2, 2})),
      "progress: no stage can go on: stage 0 waits for stage 1 in receive_gradient of micro-batch "
      "0 of batch 0 (weights W(0)); stage 1 waits for stage 0 to decide about batch 1");
}

TEST(Validate, AScheduleMustRepeatItself) {
  const auto verdict = validate(with_generator("gpipe", alternates), {2, 3});
  EXPECT_EQ(message(verdict), "none");
  EXPECT_EQ(verdict.period, 2);
  EXPECT_EQ(message(validate(with_generator("gpipe", never_repeats), {2, 3})),
            "steady state: the actions of 24 batches do not repeat, shifted by 1 to 4 batches; so "
            "nothing is known of a longer run");
}

/// Forgets the last update of runs of 5, 7, 9 ... batches.
ActionStream forgets_last_update(int stage, PipelineShape shape, HasBatch has_batch) {
  auto actions = alternates(stage, shape, has_batch);
  while (const auto action = actions.next()) {
    const bool may_forget = action->kind == update && action->batch > 2 && action->batch % 2 == 0;
    if (may_forget && !has_batch(action->batch + 1)) continue;
    co_yield *action;
  }
}

TEST(Validate, RunsMayEndAnywhereInAPeriod) {
  const auto verdict = validate(with_generator("gpipe", forgets_last_update), {2, 3});
  EXPECT_EQ(message(verdict),
            "nothing left at the end: stage 0, end of its actions: the update from batch 12 is "
            "missing");
  EXPECT_EQ(verdict.batches, 13);
}

TEST(Validate, EvaluationsMustNotStopAFullPipeline) {
  // Where both stages have evaluated W(1), stage 0 has sent three micro-batches more than stage 1
  // has taken: one more than fit into the edge. A run of 3 batches ends before it is full.
  constexpr std::string_view grid =
      "updates alone\n"
      "delay 6 3\n"
      "gradient_buffers 1 4\n"
      "stage 0: F0 F1 F2 F3 F4 F5 | F6 B0 U\n"
      "stage 1: F0 F1 F2 | F3 B0 U\n";
  const auto schedule = parse_grid(grid, "full.grid");
  const auto verdict = validate(schedule, *schedule.only_shape);
  EXPECT_EQ(
      message(verdict),
      "progress: no stage can go on: stage 0 waits for stage 1 in send_activation of micro-batch 0 "
      "of batch 6 (weights W(0)), its channel is full; stage 1 waits for stage 0 in "
      "receive_evaluation of validation micro-batch 0 (weights W(1))");
}

TEST(Validate, EvaluationsMustNotDependOnTheirSize) {
  // Stage 1 takes the forward that stage 0 does behind its evaluation before it begins its own: two
  // micro-batches would wait in the edge until then, but not a third.
  constexpr std::string_view grid =
      "updates alone\n"
      "delay 0 1\n"
      "gradient_buffers 1 2\n"
      "collect_after 2\n"
      "stage 0: F0 B0 U\n"
      "stage 1: F0 B0 | F1 U B1\n";
  const auto schedule = parse_grid(grid, "late.grid");
  EXPECT_EQ(
      message(validate(schedule, *schedule.only_shape)),
      "progress: no stage can go on: stage 0 waits for stage 1 in send_evaluation of validation "
      "micro-batch 2 (weights W(1)), its channel is full; stage 1 waits for stage 0 to decide "
      "about "
      "batch 1");
}

TEST(Validate, BatchesAreDecidedInFrontOfAnEvaluationWhereTheyMustBeKnownThere) {
  // Four micro-batches let stage 0 out of its evaluation as soon as stage 1 is in; many do not.
  constexpr std::string_view grid =
      "stage 0: F0 B0 U\n"
      "stage 1: F0 B0 U\n"
      "stage 2: F0 B0 | U F1 B1\n";
  const auto schedule = parse_grid(grid, "decision.grid");
  EXPECT_EQ(
      message(validate(schedule, *schedule.only_shape)),
      "evaluations: stage 2, await_reduction of batch 0: to go on the stage must know whether "
      "the run has batch 1, but stage 0 decides that behind its evaluation of W(1), in which "
      "it may wait for this stage's; update at the same place on both");
}

TEST(Validate, ReductionsThatAllHaveCollectedAreForgotten) {
  for (const auto& schedule : registry()) {
    const PipelineShape shape{4, 4, schedule.default_chunks};
    constexpr std::int64_t batches = 100;
    const auto lists = lower(schedule, shape, batches);
    std::vector<ActionSource> sources;
    for (const auto& actions : lists) {
      sources.push_back({[next = actions.begin(), end = actions.end()]() mutable {
        return next == end ? std::nullopt : std::optional(*next++);
      }});
    }
    const auto result = execute(schedule, shape, {batches, {}}, std::move(sources), std::nullopt);
    ASSERT_FALSE(result.failure);
    EXPECT_GE(result.reductions_kept, 1);
    EXPECT_LE(result.reductions_kept, schedule.reductions(shape)) << schedule.name;
  }
}

TEST(Validate, ErrorIsOneLineAndTheNeighbourhood) {
  const auto too_much = declaring(find("1f1b"), [](StageLimits& limits) { limits.in_flight = 1; });
  try {
    require_valid(too_much, {4, 8});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "[schedule] schedule '1f1b' with 4 stages, 8 micro-batches per batch: activations in "
        "flight: stage 0, forward of micro-batch 1 of batch 0 (weights W(0)): 2 chunk activations "
        "are kept at a time, but the limit is 1; run a backward first or declare more\n"
        "stage 0: F0   >F1< F2   F3   B0   F4   B1   F5   B2   F6   B3   F7   B4   B5   B6   B7   "
        "U1\n"
        "stage 1:      F0   F1   F2   B0   F3   B1   F4   B2   F5   B3   F6   B4   F7   B5   B6   "
        "B7   U1\n"
        "stage 2:           F0   F1   B0   F2   B1   F3   B2   F4   B3   F5   B4   F6   B5   F7   "
        "B6   B7\n"
        "stage 3:                F0   B0   F1   B1   F2   B2   F3   B3   F4   B4   F5   B5   F6   "
        "B6   F7\n");
  }
}

TEST(Validate, ShapesWithComplaintAreRefusedFirst) {
  EXPECT_THROW(require_valid(find("2bw"), {4, 2}), UserError);
  EXPECT_THROW(require_valid(find("1f1b"), {0, 2}), UserError);
  EXPECT_NO_THROW(require_valid(find("2bw"), {4, 4}));
}

TEST(Validate, ADeadlockNamesEveryStuckStageAndIsDrawn) {
  auto schedule = declaring(find("1f1b"), [](StageLimits& limits) { limits.in_flight = 6; });
  const PipelineShape shape{6, 6};
  auto lists = lower(schedule, shape, 1);
  lists[5] = lower(find("gpipe"), shape, 1)[5];
  const auto verdict = validate_run(schedule, shape, {1, {}}, lists);
  EXPECT_EQ(
      message(verdict),
      "progress: no stage can go on: stage 0 waits for stage 1 in receive_gradient of micro-batch "
      "0 of batch 0 (weights W(0)); stage 1 waits for stage 2 in receive_gradient of micro-batch 0 "
      "of batch 0 (weights W(0)); stage 2 waits for stage 3 in receive_gradient of micro-batch 0 "
      "of batch 0 (weights W(0)); stage 3 waits for stage 4 in receive_gradient of micro-batch 0 "
      "of batch 0 (weights W(0)); and 2 more, see below");
  ASSERT_TRUE(verdict.violation);
  EXPECT_EQ(
      verdict.violation->grid,
      "stage 0: F0    F1    F2    F3    F4    F5    >rB0< B0    B1    B2    B3    B4    B5    U1\n"
      "stage 1:       F0    F1    F2    F3    F4    rB0   B0    F5    B1    B2    B3    B4    B5   "
      " U1\n"
      "stage 2:             F0    F1    F2    F3    rB0   B0    F4    B1    F5    B2    B3    B4   "
      " B5\n"
      "stage 3:                   F0    F1    F2    rB0   B0    F3    B1    F4    B2    F5    B3   "
      " B4\n"
      "stage 4:                         F0    F1    rB0   B0    F2    B1    F3    B2    F4    B3   "
      " F5\n"
      "stage 5:                               F0    F1    rF2   F2    F3    F4    F5    B0    B1   "
      " B2\n"
      "stage 0 waits for stage 1 in receive_gradient of micro-batch 0 of batch 0 (weights W(0))\n"
      "stage 1 waits for stage 2 in receive_gradient of micro-batch 0 of batch 0 (weights W(0))\n"
      "stage 2 waits for stage 3 in receive_gradient of micro-batch 0 of batch 0 (weights W(0))\n"
      "stage 3 waits for stage 4 in receive_gradient of micro-batch 0 of batch 0 (weights W(0))\n"
      "stage 4 waits for stage 5 in receive_gradient of micro-batch 0 of batch 0 (weights W(0))\n"
      "stage 5 waits for stage 4 in receive_activation of micro-batch 2 of batch 0 (weights "
      "W(0))\n");
}

// Mutations.

struct Subject {
  const Schedule* schedule;
  PipelineShape shape;
};

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const auto& schedule : registry()) {
    for (const auto& [d, m] : {std::pair{1, 2}, {2, 2}, {2, 3}, {3, 1}, {3, 3}, {4, 8}}) {
      const PipelineShape shape{d, m, schedule.default_chunks};
      if (schedule.complaint(shape).empty()) all.push_back({&schedule, shape});
    }
  }
  return all;
}

ActionStream replay(std::vector<Action> actions) {
  for (const auto& action : actions) co_yield action;
}

/// All stages' lists without transfers, and those with them.
Lists without_transfers(Lists lists) {
  for (auto& actions : lists) {
    std::erase_if(actions, [](const Action& a) { return is_receive(a.kind) || is_send(a.kind); });
  }
  return lists;
}

Lists with_all_transfers(const Lists& lists, PipelineShape shape, Placement placement) {
  Lists result;
  for (std::size_t s = 0; s < lists.size(); ++s) {
    result.push_back(
        tests::drain(with_transfers(replay(lists[s]), static_cast<int>(s), shape, placement)));
  }
  return result;
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  /// Changes one thing in the transfers or the work; or the work, with its transfers.
  std::string mutate(Lists& lists, PipelineShape shape, Placement placement) {
    if (below(2) == 0) return mutate(lists);
    auto work = without_transfers(lists);
    const std::string what = below(8) == 0 ? change_version_everywhere(work) : mutate(work);
    lists = with_all_transfers(work, shape, placement);
    return what + ", with transfers";
  }

 private:
  /// All actions of a micro-batch on some stages read other weights.
  std::string change_version_everywhere(Lists& lists) {
    const auto& actions = lists[below(lists.size())];
    const Action chosen = actions[below(actions.size())];
    const std::int64_t sign = below(2) == 0 ? 1 : -1;
    const std::size_t first = below(lists.size());
    for (std::size_t s = first; s < lists.size(); ++s) {
      for (auto& action : lists[s]) {
        const bool same =
            action.batch == chosen.batch && (action.micro_batch == chosen.micro_batch || sign > 0);
        if (same && action.kind >= forward && action.kind <= backward_weight) {
          action.version += sign;
        }
      }
    }
    return fmt::format("versions of {} from stage {} on", describe(chosen), first);
  }

  /// Changes one thing; says what.
  std::string mutate(Lists& lists) {
    auto& actions = lists[below(lists.size())];
    const std::size_t i = below(actions.size());
    const auto at = actions.begin() + static_cast<std::ptrdiff_t>(i);
    const std::int64_t sign = below(2) == 0 ? 1 : -1;
    const std::string what = describe(*at);
    switch (below(10)) {
      case 0: {
        const std::size_t j = std::min(i + 1 + below(4), actions.size() - 1);
        const std::string other = describe(actions[j]);
        std::swap(*at, actions[j]);
        return "swap " + what + " with " + other;
      }
      case 1:
        actions.erase(at);
        return "drop " + what;
      case 2: {
        const Action copy = *at;
        const std::size_t j = std::min(i + below(6), actions.size());
        actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(j), copy);
        return "duplicate " + what;
      }
      case 3:
        at->version += sign;
        return "version of " + what;
      case 4:
        at->micro_batch += sign;
        return "micro-batch of " + what;
      case 5:
        at->chunk += static_cast<std::int32_t>(sign);
        return "chunk of " + what;
      case 6:
        at->batch += sign;
        return "batch of " + what;
      case 7:
        at->kind = static_cast<ActionKind>(below(14));
        return "kind of " + what + " to " + describe(*at);
      default: {
        const Action moved = *at;
        actions.erase(at);
        const std::size_t reach = 1 + below(12);
        const std::size_t j =
            sign > 0 ? std::min(i + reach, actions.size()) : i - std::min(i, reach);
        actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(j), moved);
        return fmt::format("move {} from {} to {}", what, i, j);
      }
    }
  }

  std::size_t below(std::size_t end) { return random_() % end; }
  std::mt19937_64 random_;
};

TEST(Validate, EveryMutationIsCaughtOrChangesNothing) {
  constexpr int mutations = 400;  // per subject
  int caught = 0;
  int equivalent = 0;
  std::uint64_t seed = 0;
  for (const auto& [schedule, shape] : subjects()) {
    constexpr std::int64_t batches = 4;
    const EvaluationPlan plan{.every = 3, .micro_batches = 2};
    const auto lists = lower(*schedule, shape, batches, plan);
    const auto expected = symbolic_outcome(*schedule, shape, lists);
    ASSERT_TRUE(expected) << text(*schedule, shape);
    for (int i = 0; i < mutations; ++i) {
      auto mutated = lists;
      const std::string what = Mutator(++seed).mutate(mutated, shape, schedule->placement);
      if (mutated == lists) continue;
      if (validate_run(*schedule, shape, {batches, plan}, mutated).violation) {
        ++caught;
        continue;
      }
      ++equivalent;
      for (std::uint64_t order = 1; order <= 4; ++order) {
        ASSERT_EQ(symbolic_outcome(*schedule, shape, mutated, order), expected)
            << text(*schedule, shape) << ", seed " << seed << ": " << what;
      }
    }
  }
  EXPECT_GT(caught, 10000);
  EXPECT_GT(equivalent, 10);  // as moving a contribute: the rules are not stricter than needed
}

}  // namespace
}  // namespace penstock::schedule
