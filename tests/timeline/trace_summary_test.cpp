#include "timeline/trace_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "timelines.h"

namespace penstock::timeline {
namespace {

using schedule::ActionKind;

TEST(DurationsOf, GivesMeanAndQuantiles) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const auto durations = durations_of(values);
  EXPECT_EQ(durations.count, 100);
  EXPECT_EQ(durations.mean, 50.5);
  EXPECT_EQ(durations.p50, 50);
  EXPECT_EQ(durations.p95, 95);
  EXPECT_EQ(durations_of({7}).p95, 7);
  EXPECT_EQ(durations_of({}).count, 0);
}

TEST(BatchEnds, AreTheLastStagesContributions) {
  auto timeline = simulated("1f1b", {3, 3, 1}, 4);
  // (d - 1 + m) slots of F + B = 3 each.
  EXPECT_THAT(batch_ends(timeline).seconds, testing::ElementsAre(15, 30, 45, 60));
  // A batch that one stage has not completed, and all behind it, do not count.
  auto& spans = timeline.stages[1];
  std::erase_if(spans, [](const Span& item) {
    return item.action.kind == ActionKind::contribute && item.action.batch == 2;
  });
  EXPECT_THAT(batch_ends(timeline).seconds, testing::ElementsAre(15, 30));
}

TEST(Summarize, OneForwardOneBackwardHasTheBubbleOfItsClosedForm) {
  const auto summary = summarize(simulated("1f1b", {4, 8, 1}, 12, {.update = 2}));
  EXPECT_TRUE(summary.steady);
  EXPECT_EQ(summary.batches.first, 3);
  EXPECT_EQ(summary.batches.last, 10);
  // (m + d - 1)(F + B) + U
  EXPECT_NEAR(summary.step.mean, 35, 1e-9);
  EXPECT_NEAR(summary.step.p95, 35, 1e-9);
  EXPECT_NEAR(summary.bubble_fraction, 9.0 / 35, 1e-9);
  const auto& first = summary.stages[0];
  EXPECT_NEAR(first.usage.work, 8 * 26, 1e-9);
  EXPECT_NEAR(first.usage.wait_gradient, 8 * 9, 1e-9) << "behind the last stage's first B";
  EXPECT_EQ(first.usage.wait_activation, 0);
  const auto& last = summary.stages[3];
  EXPECT_NEAR(last.usage.wait_activation, 8 * 3, 1e-9) << "the three F before it";
  EXPECT_NEAR(last.usage.wait_update, 8 * 6, 1e-9) << "the three B after it";
  EXPECT_NEAR(last.bubble_fraction, 9.0 / 35, 1e-9);
  EXPECT_EQ(first.update.count, 8);
  EXPECT_EQ(first.update.mean, 2);
  EXPECT_EQ(first.chunks[0].forward.count, 64);
  EXPECT_EQ(first.chunks[0].backward.p95, 2);
  EXPECT_EQ(first.chunks[0].backward_input.count, 0);
  EXPECT_EQ(first.most_delay, 0);
}

TEST(Summarize, DoubleBufferedWeightsHaveNoBubbleAndADelayOfOne) {
  const auto summary = summarize(simulated("2bw", {4, 8, 1}, 12));
  EXPECT_NEAR(summary.bubble_fraction, 0, 1e-12);
  EXPECT_NEAR(summary.step.mean, 24, 1e-9);
  for (const auto& stage : summary.stages) {
    EXPECT_EQ(stage.least_delay, 1);
    EXPECT_EQ(stage.most_delay, 1);
  }
}

TEST(Together, StagesAreAddedUp) {
  StageSummary a;
  a.usage = {.work = 3, .idle = 1};
  a.chunks.resize(2);
  a.chunks[0].forward = {.count = 1, .mean = 4, .p50 = 4, .p95 = 4};
  a.update = {.count = 2, .mean = 1, .p50 = 1, .p95 = 9};
  a.least_delay = 1;
  a.most_delay = 2;
  StageSummary b;
  b.usage = {.work = 1, .wait_update = 3};
  b.chunks.resize(2);
  b.chunks[0].forward = {.count = 3, .mean = 8, .p50 = 5, .p95 = 7};
  b.chunks[1].backward_weight = {.count = 5, .mean = 6, .p50 = 6, .p95 = 6};
  b.least_delay = 0;
  b.most_delay = 1;
  const auto sum = together(std::vector{a, b});
  EXPECT_EQ(sum.usage.work, 4);
  EXPECT_EQ(sum.usage.bubble(), 4);
  EXPECT_EQ(sum.bubble_fraction, 0.5);
  ASSERT_EQ(sum.chunks.size(), 2U);
  EXPECT_EQ(sum.chunks[0].forward.count, 4);
  EXPECT_EQ(sum.chunks[0].forward.mean, 7) << "of all four";
  EXPECT_EQ(sum.chunks[0].forward.p50, 5);
  EXPECT_EQ(sum.chunks[0].forward.p95, 7);
  EXPECT_EQ(sum.chunks[1].backward_weight.count, 5) << "which the first stage has none of";
  EXPECT_EQ(sum.chunks[1].backward_weight.mean, 6);
  EXPECT_EQ(sum.update.count, 2);
  EXPECT_EQ(sum.update.p95, 9);
  EXPECT_EQ(sum.contribute.count, 0);
  EXPECT_EQ(sum.least_delay, 0);
  EXPECT_EQ(sum.most_delay, 2);
}

TEST(Summarize, SeesEachStagesOwnDelay) {
  const auto summary = summarize(simulated("pipedream", {4, 1, 1}, 30));
  for (std::size_t s = 0; s < 4; ++s) {
    EXPECT_EQ(summary.stages[s].least_delay, 3 - static_cast<int>(s));
    EXPECT_EQ(summary.stages[s].most_delay, 3 - static_cast<int>(s));
  }
}

TEST(Summarize, KeepsChunksAndCausesApart) {
  const auto summary = summarize(simulated("zb-v", {2, 4, 2}, 6, {.latency = 0.125}));
  ASSERT_EQ(summary.stages[1].chunks.size(), 2U);
  for (const auto& chunk : summary.stages[1].chunks) {
    EXPECT_EQ(chunk.forward.mean, 0.5);
    EXPECT_EQ(chunk.backward_input.mean, 0.5);
    EXPECT_EQ(chunk.backward_weight.mean, 0.5);
  }
  EXPECT_GT(summary.stages[1].usage.transfer, 0);
}

TEST(Summarize, TakesTheBatchesAskedFor) {
  const auto timeline = simulated("1f1b", {2, 2, 1}, 6);
  const auto summary = summarize(timeline, BatchRange{0, 1});
  EXPECT_EQ(summary.from, 0);
  EXPECT_EQ(summary.to, 18);
  EXPECT_EQ(summary.step.count, 2);
  EXPECT_EQ(summary.stages[0].chunks[0].forward.count, 4);
}

TEST(Summarize, OfAShortRunTellsThatItIsNotSteady) {
  const auto summary = summarize(simulated("1f1b", {2, 2, 1}, 2));
  EXPECT_FALSE(summary.steady);
  EXPECT_EQ(summary.batches.first, 1);
  EXPECT_EQ(summary.batches.last, 1);
  EXPECT_EQ(summarize(two_stages()).batches.first, 0);
}

std::string message(const Timeline& timeline, std::optional<BatchRange> batches) {
  try {
    summarize(timeline, batches);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Summarize, NamesWhatIsMissing) {
  const auto timeline = simulated("1f1b", {2, 2, 1}, 4);
  const std::string range = " are not within those that every stage completed; choose some of 0:3";
  EXPECT_EQ(message(timeline, BatchRange{2, 4}), "[trace] batches 2:4" + range);
  EXPECT_EQ(message(timeline, BatchRange{-1, 1}), "[trace] batches -1:1" + range);
  EXPECT_EQ(message({"1f1b", {2, 2, 1}, {}, {{}, {}}}, std::nullopt),
            "[trace] no batch was completed by all 2 stages; record a longer run");
}

}  // namespace
}  // namespace penstock::timeline
