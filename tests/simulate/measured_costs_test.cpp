#include "simulate/measured_costs.h"

#include <gtest/gtest.h>

#include "simulate/cost_file.h"
#include "simulate/simulate.h"
#include "timeline/timelines.h"

namespace penstock::simulate {
namespace {

Result rerun(std::string_view name, schedule::PipelineShape shape, const Costs& costs) {
  Request request;
  request.schedule = &schedule::find(name);
  request.shape = shape;
  request.batches = 12;
  request.costs = &costs;
  return simulate(request);
}

TEST(MeasuredCosts, SimulateToTheSameStepTime) {
  for (const char* name : {"2bw", "1f1b", "zb-v"}) {
    const schedule::PipelineShape shape{4, 8, name == std::string("zb-v") ? 2 : 1};
    const auto timeline = timeline::simulated(
        name, shape, 12, {.forward = 1, .backward = 3, .update = 2, .latency = 0.25});
    const auto costs = measured_costs(timeline, {.first_batch = 4, .last_batch = 9});
    EXPECT_NEAR(costs.link.latency, 0.25, 1e-9) << name;
    ChunkCosts one;
    one.forward = 1;
    one.backward = 3;
    one.backward_input = 1.5;
    one.backward_weight = 1.5;
    auto exact = uniform(shape, one, 2);
    exact.link.latency = 0.25;
    EXPECT_NEAR(rerun(name, shape, costs).step_time, rerun(name, shape, exact).step_time, 1e-9)
        << name;
    const auto read = read_costs(to_json(costs), "test", shape);
    EXPECT_EQ(rerun(name, shape, read).step_time, rerun(name, shape, costs).step_time) << name;
  }
}

// A receive that begins while its message is under way sees only the rest of the latency.
TEST(MeasuredCosts, TakeTheLatencyOnlyWhereAllOfItWasSeen) {
  const auto timeline = timeline::simulated("1f1b", {2, 8, 1}, 6, {.latency = 0.25, .jitter = 0.3});
  const auto costs = measured_costs(timeline, {.first_batch = 0, .last_batch = 5});
  EXPECT_NEAR(costs.link.latency, 0.25, 1e-9);
}

TEST(MeasuredCosts, AreTablesOfTheBatchesAskedFor) {
  const auto timeline = timeline::simulated("1f1b", {2, 4, 1}, 6, {.jitter = 0.3});
  const auto costs = measured_costs(timeline, {.first_batch = 2, .last_batch = 4});
  const auto& forward = costs.stages[1].chunks[0].forward;
  ASSERT_EQ(forward.samples.size(), 12U);
  double sum = 0;
  std::size_t next = 0;
  for (const auto& span : timeline.stages[1]) {
    const bool wanted = span.action.kind == schedule::ActionKind::forward &&
                        span.action.batch >= 2 && span.action.batch <= 4;
    if (!wanted) continue;
    EXPECT_EQ(forward.samples[next++], span.seconds());
    sum += span.seconds();
  }
  EXPECT_NEAR(forward.mean, sum / 12, 1e-12);
}

TEST(MeasuredCosts, ThinTablesKeepTheMeanOfAll) {
  const auto timeline = timeline::simulated("1f1b", {2, 4, 1}, 6, {.jitter = 0.3});
  const auto all = measured_costs(timeline, {.first_batch = 0, .last_batch = 5});
  const auto thin =
      measured_costs(timeline, {.first_batch = 0, .last_batch = 5, .most_samples = 3});
  const auto none =
      measured_costs(timeline, {.first_batch = 0, .last_batch = 5, .most_samples = 0});
  const auto& tables = all.stages[0].chunks[0].backward.samples;
  const auto& kept = thin.stages[0].chunks[0].backward;
  EXPECT_EQ(kept.samples, (std::vector<double>{tables[0], tables[8], tables[16]}));
  EXPECT_EQ(kept.mean, all.stages[0].chunks[0].backward.mean);
  EXPECT_TRUE(none.stages[0].chunks[0].backward.samples.empty());
  EXPECT_EQ(none.stages[0].chunks[0].backward.mean, kept.mean);
}

TEST(MeasuredCosts, FillInTheKindsThatTheRunDidNotHave) {
  const auto joint = measured_costs(timeline::simulated("1f1b", {2, 2, 1}, 3, {.backward = 3}),
                                    {.first_batch = 0, .last_batch = 2});
  EXPECT_EQ(joint.stages[0].chunks[0].backward_input.expected(), 1.5);
  EXPECT_EQ(joint.stages[0].chunks[0].backward_weight.expected(), 1.5);
  const auto split = measured_costs(timeline::simulated("zb-h1", {2, 2, 1}, 3, {.backward = 3}),
                                    {.first_batch = 0, .last_batch = 2});
  EXPECT_EQ(split.stages[0].chunks[0].backward.expected(), 3);
}

}  // namespace
}  // namespace penstock::simulate
