#include "schedule/validate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/compute.h"
#include "schedule/execution.h"
#include "schedule/grid_file.h"
#include "schedule/validated.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using enum ActionKind;

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
  // 5 schedules run in all 512 shapes, zb-v too, with two chunks; 2bw and 2bw-ahead where m >= d;
  // interleaved with two and three chunks where d divides m.
  int divisible = 0;
  int filled = 0;
  for (int d = 1; d <= 16; ++d) {
    for (int m = 1; m <= 32; ++m) {
      divisible += m % d == 0;
      filled += m >= d;
    }
  }
  EXPECT_EQ(shapes, 6 * 512 + 2 * filled + 2 * divisible);
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

}  // namespace
}  // namespace penstock::schedule
