// Runs by stage threads equal the plain loop that defines them.

#include <gtest/gtest.h>

#include "engine/pure/fake_run.h"

namespace penstock::tests {
namespace {

TEST(Equivalence, EveryScheduleEqualsItsPlainLoop) {
  for (const auto& schedule : schedule::registry()) {
    const auto shapes = shapes_of(schedule);
    EXPECT_GE(shapes.size(), 5U) << schedule.name;
    for (const auto shape : shapes) {
      const FakeRun run{.schedule = schedule.name, .shape = shape, .batches = 12};
      EXPECT_EQ(run_fake(run), plain_loop(run)) << text(run);
    }
  }
}

TEST(Equivalence, PhasesWithoutDelayEqualTheirPlainLoop) {
  for (const auto shape : shapes_of(schedule::find("2bw"), 5)) {
    for (const std::int64_t sync : {0, 1, 2, 5}) {
      for (const std::int64_t between : {0, 1, 2, 4}) {
        const FakeRun run{.shape = shape,
                          .batches = sync + between + 3,
                          .evaluation = {2, 1},
                          .sync = sync,
                          .final_begin = sync + between};
        EXPECT_EQ(run_fake(run), plain_loop(run)) << text(run);
        FakeRun endless = run;
        endless.final_begin = schedule::no_final_phase;
        EXPECT_EQ(run_fake(endless), plain_loop(endless)) << text(endless);
      }
    }
  }
}

TEST(Equivalence, EveryOtherDefinitionGivesOtherWeights) {
  for (const auto& rule : definitions()) {
    const int m = rule.schedule == "interleaved" ? 6 : 4;
    const auto chunks = schedule::find(rule.schedule).default_chunks;
    const FakeRun run{.schedule = rule.schedule, .shape = {3, m, chunks}, .batches = 12};
    const auto result = run_fake(run);
    int equal = 0;
    for (auto other : definitions()) {
      other.updates_together = rule.updates_together;
      equal += result.weights == plain_loop(run, other).weights ? 1 : 0;
    }
    // The five synchronous schedules share one definition, and so do the two of 2bw.
    const bool synchronous = schedule::find(rule.schedule).limits(0, run.shape).most_delay == 0;
    const bool one_older = rule.schedule.starts_with("2bw");
    EXPECT_EQ(equal, synchronous ? 5 : one_older ? 2 : 1) << rule.schedule;
  }
}

TEST(Equivalence, EvaluationsSeeTheNewestWeightsOfEveryStage) {
  for (const auto& schedule : schedule::registry()) {
    // More validation micro-batches than a group holds.
    const FakeRun run{.schedule = schedule.name,
                      .shape = {3, 6, schedule.default_chunks},
                      .batches = 10,
                      .evaluation = {.every = 3, .micro_batches = 7}};
    const auto result = run_fake(run);
    EXPECT_EQ(result, plain_loop(run)) << text(run);
    EXPECT_EQ(result.evaluations.size(), 4U * 7U) << text(run);  // W(3), W(6), W(9), W(10)
  }
}

TEST(Equivalence, BothCopiesOfATiedWeightAreTheSame) {
  for (const auto& schedule : schedule::registry()) {
    for (const std::int64_t batches : {1, 2, 5}) {
      const FakeRun run{
          .schedule = schedule.name, .shape = {3, 6, schedule.default_chunks}, .batches = batches};
      const auto weights = run_fake(run).weights;
      EXPECT_NE(weights.tied_input, FakeWeights{}.tied_input);
      EXPECT_EQ(weights.tied_input == weights.tied_output, schedule.updates_together) << text(run);
    }
  }
}

TEST(Equivalence, AStopFinishesEveryStartedBatch) {
  for (const auto& schedule : schedule::registry()) {
    FakeRun run{
        .schedule = schedule.name, .shape = {3, 3, schedule.default_chunks}, .batches = 1000};
    const auto stopped = run_fake(run, {.stop_at = 7});
    run.batches = 7;
    EXPECT_EQ(stopped, plain_loop(run)) << text(run);
  }
}

/// The same chain of layers in every cut: a micro-batch takes the same way through it.
TEST(Equivalence, DepthChangesNothing) {
  FakeRun run{.batches = 5, .evaluation = {2, 3}, .layers = 64};
  run.shape = {1, 64};
  const auto expected = plain_loop(run).weights;
  for (const int d : {1, 2, 3, 4, 7, 8, 16, 33, 64}) {
    run.shape = {d, 64};
    // As many cores as stages, and two that they take turns on.
    for (const int cores : {0, 2}) {
      const auto result = run_fake(run, {.cores = cores});
      EXPECT_EQ(result.weights, expected) << text(run) << ", cores " << cores;
      EXPECT_EQ(result, plain_loop(run)) << text(run) << ", cores " << cores;
    }
  }
}

TEST(Equivalence, SchedulesWithChunksShareCoresToo) {
  for (const auto& schedule : schedule::registry()) {
    for (const auto shape : shapes_of(schedule, 5)) {
      const FakeRun run{.schedule = schedule.name, .shape = shape, .batches = 6};
      EXPECT_EQ(run_fake(run, {.cores = 1}), plain_loop(run)) << text(run);
    }
  }
}

}  // namespace
}  // namespace penstock::tests
