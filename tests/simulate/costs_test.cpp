#include "simulate/costs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"

namespace penstock::simulate {
namespace {

Costs costs_of(schedule::PipelineShape shape) { return uniform(shape, {}); }

TEST(Costs, ExpectedIsTheMeanOfTheSamplesWhereThereAreSome) {
  Duration duration = 3;
  EXPECT_EQ(duration.expected(), 3);
  duration.samples = {1, 2, 6, 7};
  EXPECT_EQ(duration.expected(), 4);
  const Duration half = duration.scaled(0.5);
  EXPECT_EQ(half.mean, 1.5);
  EXPECT_EQ(half.samples, (std::vector<double>{0.5, 1, 3, 3.5}));
}

TEST(Costs, ChunksShareAStagesCosts) {
  ChunkCosts one;
  one.forward = 4;
  one.backward = 8;
  one.backward_input.samples = {4, 12};
  one.backward_weight = 16;
  one.activation_bytes = 32;
  const Costs costs = uniform({.stages = 2, .micro_batches = 1, .chunks = 4}, one, 5);
  ASSERT_EQ(costs.stages.size(), 2U);
  ASSERT_EQ(costs.stages[1].chunks.size(), 4U);
  const ChunkCosts& chunk = costs.stages[1].chunks[3];
  EXPECT_EQ(chunk.forward.mean, 1);
  EXPECT_EQ(chunk.backward.mean, 2);
  EXPECT_EQ(chunk.backward_input.samples, (std::vector<double>{1, 3}));
  EXPECT_EQ(chunk.backward_weight.mean, 4);
  EXPECT_EQ(chunk.activation_bytes, 8);
  EXPECT_EQ(costs.stages[1].update.mean, 5);
}

void expect_refused(const std::function<void(Costs&)>& spoil, const char* message) {
  const schedule::PipelineShape shape{.stages = 3, .micro_batches = 4, .chunks = 2};
  Costs costs = costs_of(shape);
  EXPECT_NO_THROW(check(costs, shape));
  spoil(costs);
  try {
    check(costs, shape);
    FAIL() << message;
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), message);
  }
}

TEST(Costs, ValuesOutOfRangeAreNamed) {
  expect_refused([](Costs& c) { c.stages[1].chunks[0].forward = -1; },
                 "[costs] forward of chunk 0 of stage 1 is -1, but must be a finite number of "
                 "seconds; set it to 0 or more");
  expect_refused([](Costs& c) { c.stages[1].chunks[1].backward = std::nan(""); },
                 "[costs] backward of chunk 1 of stage 1 is nan, but must be a finite number of "
                 "seconds; set it to 0 or more");
  expect_refused(
      [](Costs& c) {
        c.stages[0].chunks[0].backward_input.samples = {1, -2};
      },
      "[costs] a sample of backward_input of chunk 0 of stage 0 is -2, but must be a "
      "finite number of seconds; set it to 0 or more");
  expect_refused([](Costs& c) { c.stages[0].chunks[0].backward_weight = INFINITY; },
                 "[costs] backward_weight of chunk 0 of stage 0 is inf, but must be a finite "
                 "number of seconds; set it to 0 or more");
  expect_refused([](Costs& c) { c.stages[0].chunks[0].activation_bytes = -8; },
                 "[costs] activation_bytes of chunk 0 of stage 0 is -8, but must be a finite "
                 "number of bytes; set it to 0 or more");
  expect_refused([](Costs& c) { c.stages[2].update = -3; },
                 "[costs] update of stage 2 is -3, but must be a finite number of seconds; set it "
                 "to 0 or more");
  expect_refused([](Costs& c) { c.stages[2].contribute = -3; },
                 "[costs] contribute of stage 2 is -3, but must be a finite number of seconds; "
                 "set it to 0 or more");
  for (double StageCosts::*bytes :
       {&StageCosts::weight_bytes, &StageCosts::gradient_bytes, &StageCosts::optimizer_bytes}) {
    Costs costs = costs_of({1, 1});
    costs.stages[0].*bytes = -1;
    EXPECT_THROW(check(costs, {1, 1}), UserError);
  }
  expect_refused([](Costs& c) { c.stages[2].slowdown = 0; },
                 "[costs] slowdown of stage 2 is 0, but must be above 0; set 1 for full speed");
  expect_refused([](Costs& c) { c.link.latency = -0.5; },
                 "[costs] latency is -0.5, but must be a finite number of seconds; set it to 0 or "
                 "more");
  expect_refused([](Costs& c) { c.link.bandwidth = 0; },
                 "[costs] bandwidth is 0 bytes per second, but must be above 0; leave it out for "
                 "a link that takes no time");
  expect_refused(
      [](Costs& c) {
        c.links = {{}, {.latency = 0, .bandwidth = -2}};
      },
      "[costs] bandwidth of link 1 is -2 bytes per second, but must be above 0; leave "
      "it out for a link that takes no time");
  expect_refused([](Costs& c) { c.message_bytes = -1; },
                 "[costs] message_bytes is -1, but must be a finite number of bytes; set it to 0 "
                 "or more");
  expect_refused([](Costs& c) { c.reduction = -1; },
                 "[costs] reduction is -1, but must be a finite number of seconds; set it to 0 or "
                 "more");
  expect_refused([](Costs& c) { c.jitter = -0.1; },
                 "[costs] jitter is -0.1, but must be 0 or more; 0.1 means ten per cent");
}

TEST(Costs, AnotherShapeIsNamed) {
  expect_refused([](Costs& c) { c.stages.pop_back(); },
                 "[costs] the costs are of 2 stages, but the pipeline has 3; give one entry per "
                 "stage");
  expect_refused([](Costs& c) { c.stages[1].chunks.pop_back(); },
                 "[costs] stage 1 has costs of 1 chunks, but the pipeline has 2 per stage; give "
                 "one entry per chunk");
  expect_refused([](Costs& c) { c.links.resize(4); },
                 "[costs] there are 4 links, but 3 stages have at most 3; leave some out");
  expect_refused([](Costs& c) { c.failure = Failure{.stage = 3, .at = 1}; },
                 "[costs] stage 3 is to fail, but the stages are 0 to 2; choose one of them");
  expect_refused([](Costs& c) { c.failure = Failure{.stage = 2, .at = -1}; },
                 "[costs] the time of the failure is -1, but must be a finite number of seconds; "
                 "set it to 0 or more");
}

}  // namespace
}  // namespace penstock::simulate
