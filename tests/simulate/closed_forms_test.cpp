// Step times, bubbles and slacks that are known in advance. All costs are multiples of a power of
// two, so every number is exact.

#include <gtest/gtest.h>

#include <algorithm>

#include "simulate/simulate.h"
#include "simulate/simulated.h"

namespace penstock::simulate {
namespace {

using schedule::PipelineShape;

void expect_step(const char* name, PipelineShape shape, std::int64_t batches, double step,
                 double bubble, double unit = 1) {
  SCOPED_TRACE(testing::Message() << name << " d=" << shape.stages << " m=" << shape.micro_batches
                                  << " v=" << shape.chunks << " batches=" << batches);
  const Result result = run(name, shape, textbook(shape, unit), batches);
  EXPECT_EQ(result.step_time, step * unit);
  EXPECT_EQ(result.bubble_fraction, bubble);
  EXPECT_TRUE(result.stuck.empty());
  EXPECT_EQ(result.batches_done, batches);
}

TEST(Simulate, FlushedSchedulesHaveTheTextbooksBubble) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = 1; m <= 16; ++m) {
      for (const std::int64_t batches : {1, 2, 3, 8}) {
        const double bubble = static_cast<double>(d - 1) / (m + d - 1);
        expect_step("1f1b", {d, m}, batches, 3 * (m + d - 1), bubble);
        expect_step("gpipe", {d, m}, batches, 3 * (m + d - 1), bubble);
      }
    }
  }
}

TEST(Simulate, InterleavedDividesTheBubbleByItsChunks) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = d; m <= 16; m += d) {
      for (const int v : {2, 3, 4}) {
        // Three chunks: a unit of three makes a third exact.
        const double unit = v == 3 ? 3 : 1;
        expect_step("interleaved", {d, m, v}, 8, (3.0 * m * v + 3 * (d - 1)) / v,
                    static_cast<double>(d - 1) / (v * m + d - 1), unit);
      }
    }
  }
}

TEST(Simulate, ZeroBubbleH1LeavesAThirdOfTheBubble) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = d; m <= 16; ++m) {
      expect_step("zb-h1", {d, m}, 8, 3 * m + d - 1, static_cast<double>(d - 1) / (3 * m + d - 1));
    }
  }
}

TEST(Simulate, ZeroBubbleVOnlyWaitsToFill) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = 2 * d; m <= 16; ++m) {
      // A chunk's F takes half a unit; the last stage gets its first micro-batch after d - 1 of
      // them, and the update ends the batch for all.
      expect_step("zb-v", {d, m, 2}, 8, 3 * m + 0.5 * (d - 1),
                  static_cast<double>(d - 1) / (6 * m + d - 1));
    }
  }
}

TEST(Simulate, SchedulesWithoutAFlushHaveNoBubble) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = 1; m <= 16; ++m) {
      for (const std::int64_t batches : {12, 24}) {
        expect_step("pipedream", {d, m}, batches, 3 * m, 0);
        expect_step("paci", {d, m}, batches, 3 * m, 0);
        if (m >= d) expect_step("2bw", {d, m}, batches, 3 * m, 0);
        if (m >= d) expect_step("2bw-ahead", {d, m}, batches, 3 * m, 0);
      }
    }
  }
}

/// A micro-batch is away from stage 0 for 3 d units of work and 2 (d-1) latencies, in which the
/// stage has as much to do as its micro-batches in flight take.
TEST(Simulate, ALongLeadHidesLatency) {
  for (int d = 2; d <= 8; ++d) {
    for (const int m : {2 * (d - 1), 16}) {
      for (const double latency : {0.5, 1.5, 3.0}) {
        SCOPED_TRACE(testing::Message() << "d=" << d << " m=" << m << " latency=" << latency);
        Costs costs = textbook({d, m});
        costs.link.latency = latency;
        const double away = 3 * d + 2 * (d - 1) * latency;
        // The window of batches that is measured begins and ends within such a round trip.
        const double cut = latency / 10;
        EXPECT_NEAR(run("2bw", {d, m}, costs, 40).step_time, m * away / d, cut);
        EXPECT_NEAR(run("2bw-ahead", {d, m}, costs, 40).step_time,
                    m * std::max(3.0, away / (2 * d - 1)), latency <= 1.5 ? 1e-9 * m : cut);
      }
    }
  }
}

/// With fewer micro-batches the lead is shorter, and so is what it hides. Stage 0 leads by
/// l = min(2 (d-1), m), so l + 1 are away from it at a time; m - l pairs are left to the reduction.
TEST(Simulate, ALongLeadIsAsLongAsTheMicroBatchesAllow) {
  for (const PipelineShape shape : {PipelineShape{4, 4}, {4, 5}, {6, 6}, {6, 8}, {6, 12}}) {
    SCOPED_TRACE(testing::Message() << "d=" << shape.stages << " m=" << shape.micro_batches);
    const int d = shape.stages;
    const int m = shape.micro_batches;
    const int lead = std::min(2 * (d - 1), m);
    Costs costs = textbook(shape);
    EXPECT_EQ(run("2bw-ahead", shape, costs).slack_pairs, m - lead);
    costs.link.latency = 1.5;
    const double away = 3 * d + 2 * (d - 1) * costs.link.latency;
    EXPECT_GE(run("2bw-ahead", shape, costs, 40).step_time, m * away / (lead + 1) - 0.15);
  }
}

TEST(Simulate, DoubleBufferedWeightsLeaveReductionsTimeForPairs) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = d; m <= 16; ++m) {
      for (const double backward : {1.0, 2.0}) {
        SCOPED_TRACE(testing::Message() << "d=" << d << " m=" << m << " B=" << backward);
        Costs costs = textbook({d, m});
        for (StageCosts& stage : costs.stages) stage.chunks[0].backward = backward;
        const Result result = run("2bw", {d, m}, costs, 14);
        EXPECT_EQ(result.slack_pairs, m - d + 1);
        EXPECT_EQ(result.slack, (1 + backward) * (m - d + 1));
        // The first forward of the next batch but one travels down the pipeline.
        for (int stage = 0; stage < d; ++stage) {
          EXPECT_EQ(result.stages[size(stage)].slack, (1 + backward) * (m - d + 1) + stage);
        }
      }
    }
  }
}

TEST(Simulate, EveryReductionOf2bwHasASlackOfPairs) {
  constexpr std::int64_t batches = 9;
  for (int d = 1; d <= 8; ++d) {
    for (int m = d; m <= 16; ++m) {
      for (const double backward : {1.0, 2.0}) {
        SCOPED_TRACE(testing::Message() << "d=" << d << " m=" << m << " B=" << backward);
        Costs costs = textbook({d, m});
        for (StageCosts& stage : costs.stages) stage.chunks[0].backward = backward;
        const Result result = run("2bw", {d, m}, costs, batches);
        for (int stage = 0; stage < d; ++stage) {
          const auto& slacks = result.stages[size(stage)].slacks;
          ASSERT_EQ(slacks.size(), size(batches));
          // Stage 0 contributes last, and m-d+1 pairs later it needs the total for the first
          // forward of the next batch but one, which then travels down the pipeline.
          for (std::int64_t batch = 0; batch + 2 < batches; ++batch) {
            EXPECT_EQ(slacks[size(batch)], (1 + backward) * (m - d + 1) + stage) << batch;
          }
          // There is none behind the last batches. The last backward travels up.
          EXPECT_EQ(slacks.back(), -backward * stage);
        }
      }
    }
  }
}

TEST(Simulate, SlacksOfTheFirstReductionsAreKept) {
  const auto kept = [](PipelineShape shape, std::int64_t batches) {
    const Result result = run("1f1b", shape, textbook(shape), batches);
    for (const StageResult& stage : result.stages) {
      EXPECT_EQ(stage.slacks.size(), result.stages[0].slacks.size());
    }
    return result.stages[0].slacks.size();
  };
  EXPECT_EQ(kept({1, 1}, 4096), 4096U);
  EXPECT_EQ(kept({1, 1}, 4097), 4096U);
  EXPECT_EQ(kept({3, 1}, 2000), 1365U);
  EXPECT_EQ(kept({3, 1}, 1000), 1000U);
}

TEST(Simulate, AReductionWithinTheSlackCostsNothingAndAnUpdateIsPaidFor) {
  const PipelineShape shape{4, 8};
  Costs costs = textbook(shape);
  costs.reduction = 15;  // slack of 5 pairs
  EXPECT_EQ(run("2bw", shape, costs).step_time, 24);
  EXPECT_EQ(run("2bw", shape, costs).slack, 0);
  costs.reduction = 16;
  EXPECT_GT(run("2bw", shape, costs).step_time, 24);
  costs.reduction = 0;
  for (StageCosts& stage : costs.stages) stage.update = 2;
  EXPECT_EQ(run("2bw", shape, costs).step_time, 26);
  EXPECT_EQ(run("1f1b", shape, costs).step_time, 33 + 2);
}

TEST(Simulate, PairsAreOfTheBackwardThatTheScheduleUses) {
  const PipelineShape shape{1, 4};
  Costs costs = textbook(shape);
  costs.stages[0].chunks[0].backward_weight = 4;  // dX + dW = 5, B = 2
  costs.reduction = 12;
  EXPECT_EQ(run("zb-h1", shape, costs).slack_pairs, -2);
  EXPECT_EQ(run("1f1b", shape, costs).slack_pairs, -4);
}

}  // namespace
}  // namespace penstock::simulate
