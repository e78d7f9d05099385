#include "simulate/durations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "schedule/compute.h"

namespace penstock::simulate {
namespace {

namespace compute = schedule::compute;

constexpr schedule::PipelineShape shape{.stages = 2, .micro_batches = 100, .chunks = 2};

/// Different for every stage, chunk and kind.
Costs distinct() {
  Costs costs = uniform(shape, {});
  double seconds = 1;
  for (StageCosts& stage : costs.stages) {
    for (ChunkCosts& chunk : stage.chunks) {
      for (Duration* duration :
           {&chunk.forward, &chunk.backward, &chunk.backward_input, &chunk.backward_weight}) {
        *duration = seconds++;
      }
    }
    stage.contribute = seconds++;
    stage.update = seconds++;
  }
  costs.stages[1].slowdown = 2;
  return costs;
}

TEST(Durations, WithoutChanceAreThoseOfStageChunkAndKind) {
  const Costs costs = distinct();
  const Durations durations(costs, shape);
  EXPECT_EQ(durations.of(0, compute::forward(3, 5, 2, 0)), 1);
  EXPECT_EQ(durations.of(0, compute::backward(3, 5, 2, 0)), 2);
  EXPECT_EQ(durations.of(0, compute::backward_input(3, 5, 2, 0)), 3);
  EXPECT_EQ(durations.of(0, compute::backward_weight(3, 5, 2, 0)), 4);
  EXPECT_EQ(durations.of(0, compute::forward(3, 5, 2, 1)), 5);
  EXPECT_EQ(durations.of(0, compute::contribute(3)), 9);
  EXPECT_EQ(durations.of(0, compute::update(3)), 10);
  EXPECT_EQ(durations.of(1, compute::forward(3, 5, 2, 0)), 2 * 11);
  EXPECT_EQ(durations.of(1, compute::backward_weight(3, 5, 2, 1)), 2 * 18);
  EXPECT_EQ(durations.of(1, compute::update(3)), 2 * 20);
}

TEST(Durations, APairIsAMicroBatchOnAllChunks) {
  const Costs costs = distinct();
  const Durations durations(costs, shape);
  EXPECT_EQ(durations.pair(0, false), 1 + 2 + 5 + 6);
  EXPECT_EQ(durations.pair(0, true), 1 + 3 + 4 + 5 + 7 + 8);
  EXPECT_EQ(durations.pair(1, false), 2 * (11 + 12 + 15 + 16));
}

TEST(Durations, JitterIsLogNormalWithMeanOneAndTheGivenDeviation) {
  Costs costs = distinct();
  costs.jitter = 0.5;
  const Durations durations(costs, shape);
  constexpr int count = 100000;
  double sum = 0;
  double squares = 0;
  double logarithms = 0;
  for (int i = 0; i < count; ++i) {
    const double factor = durations.of(1, compute::forward(i / 100, i % 100, 0)) / 22;
    sum += factor;
    squares += factor * factor;
    logarithms += std::log(factor);
  }
  const double mean = sum / count;
  // Five standard deviations: of the mean 0.5 / sqrt(count) = 0.0016; of the variance, with the
  // log-normal's kurtosis of 8.9 at this jitter, 0.25 * sqrt(7.9 / count) = 0.0022; of the mean
  // logarithm 0.47 / sqrt(count) = 0.0015.
  EXPECT_NEAR(mean, 1, 0.008);
  EXPECT_NEAR(squares / count - mean * mean, 0.25, 0.011);
  EXPECT_NEAR(logarithms / count, -std::log(1.25) / 2, 0.0075);
}

TEST(Durations, SamplesAreDrawnEquallyOftenAndSlowedDown) {
  Costs costs = distinct();
  costs.stages[1].chunks[1].backward.samples = {1, 3, 8};
  const Durations durations(costs, shape);
  std::map<double, int> drawn;
  constexpr int count = 30000;
  for (int i = 0; i < count; ++i) ++drawn[durations.of(1, compute::backward(i, 7, 0, 1))];
  ASSERT_EQ(drawn.size(), 3U);
  // Five standard deviations of a binomial with p = 1/3: 5 * sqrt(count * 2 / 9) = 408.
  for (const double seconds : {2.0, 6.0, 16.0}) EXPECT_NEAR(drawn[seconds], count / 3, 408);
  EXPECT_EQ(durations.of(1, compute::forward(0, 7, 0, 1)), 2 * 15) << "no samples: the mean";
}

TEST(Durations, AreAFunctionOfSeedStageAndAction) {
  ChunkCosts one;
  one.forward = 1;
  one.backward = 1;
  Costs costs = uniform(shape, one);
  costs.jitter = 0.5;
  const Durations durations(costs, shape);
  const double once = durations.of(0, compute::forward(1, 2, 0));
  EXPECT_EQ(durations.of(0, compute::forward(1, 2, 9)), once) << "whatever the weights";
  EXPECT_NE(durations.of(1, compute::forward(1, 2, 0)), once);
  EXPECT_NE(durations.of(0, compute::forward(2, 2, 0)), once);
  EXPECT_NE(durations.of(0, compute::forward(1, 3, 0)), once);
  EXPECT_NE(durations.of(0, compute::forward(1, 2, 0, 1)), once);
  EXPECT_NE(durations.of(0, compute::backward(1, 2, 0)), once);
  costs.seed = 1;
  EXPECT_NE(Durations(costs, shape).of(0, compute::forward(1, 2, 0)), once);
}

}  // namespace
}  // namespace penstock::simulate
