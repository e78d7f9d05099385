#include "plan/cost_model.h"

#include <gtest/gtest.h>

#include "plan/example.h"

namespace penstock::plan {
namespace {

TEST(CostModelTest, ARingMovesTwiceTheShareOfTheOthers) {
  // 2 * 3/4 * 8e9 bytes at 1e9 bytes/s, and 6 hops of 1 ms.
  EXPECT_DOUBLE_EQ(ring_all_reduce(8e9, 4, {1e-3, 1e9}), 12 + 6e-3);
  EXPECT_EQ(ring_all_reduce(8e9, 1, {1e-3, 1e9}), 0);
}

TEST(CostModelTest, SecondsAreFlopOverRate) {
  auto cluster = ideal(2);
  const auto workload = equal_units(4, 8);
  const auto costs = costs_of(workload, cluster, candidate("1f1b", {2, 8, 1}, {3, 1}));
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].forward.mean, 3);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].backward.mean, 6);
  EXPECT_DOUBLE_EQ(costs.stages[1].chunks[0].backward_input.mean, 1);
  cluster.ranks.efficiency = 0.5;
  cluster.ranks.unit_overhead_us = 1e6;
  const auto slower = costs_of(workload, cluster, candidate("1f1b", {2, 4, 1}, {3, 1}, 1, 2));
  EXPECT_DOUBLE_EQ(slower.stages[0].chunks[0].forward.mean, 3 * (2 * 2 + 1));
  EXPECT_DOUBLE_EQ(slower.stages[0].chunks[0].backward.mean, 3 * (2 * 4 + 2));
}

TEST(CostModelTest, RecomputationIsOneMoreForward) {
  auto one = candidate("1f1b", {1, 8, 1}, {4});
  one.recompute = Recompute::block;
  const auto costs = costs_of(equal_units(4, 8), ideal(1), one);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].forward.mean, 4);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].backward.mean, 12);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].backward_weight.mean, 4);
}

// Per token, F of the layer is 2 FLOP per weight of its matrices and the scores; the second one
// leaves out the last product of each segment.
TEST(CostModelTest, TheLastProductIsNotComputedAgain) {
  auto workload = tiny();
  workload.model.layers = 2;
  workload = make_workload(workload);
  auto one = candidate("1f1b", {1, 8, 1}, {6});
  const auto more = [&](Recompute recompute) {
    one.recompute = Recompute::none;
    const auto none = costs_of(workload, ideal(1), one).stages[0].chunks[0];
    one.recompute = recompute;
    const auto again = costs_of(workload, ideal(1), one).stages[0].chunks[0];
    EXPECT_DOUBLE_EQ(again.forward.mean, none.forward.mean);
    EXPECT_DOUBLE_EQ(again.backward_weight.mean, none.backward_weight.mean);
    EXPECT_NEAR(again.backward.mean - none.backward.mean,
                again.backward_input.mean - none.backward_input.mean, 1e-22);
    return (again.backward.mean - none.backward.mean) * 1e12 / 4;  // FLOP per token
  };
  const double layer = workload.units[1].forward + workload.units[2].forward;
  const double embedding = workload.units[0].forward;
  const double down = 2 * 12 * 8;
  EXPECT_NEAR(more(Recompute::block), embedding + 2 * (layer - down), 1e-9);
  EXPECT_NEAR(more(Recompute::stage), embedding + 2 * layer - down, 1e-9);
  EXPECT_EQ(workload.units[1].last_product, 2 * 8 * 8);
}

TEST(CostModelTest, MeasuredTimesReplaceTheRate) {
  auto workload = equal_units(2, 8);
  workload.measured.emplace();
  workload.measured->of(model::UnitKind::mlp) = {.forward = 5, .backward = 8};
  const auto costs = costs_of(workload, ideal(1), candidate("1f1b", {1, 8, 1}, {2}));
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].forward.mean, 10);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].backward.mean, 16);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].backward_input.mean, 8);
  EXPECT_DOUBLE_EQ(measured_flops(workload), 3e12 / 13);
}

TEST(CostModelTest, TheSlowestReplicaSetsTheSpeedOfAStage) {
  const auto cluster = ideal(4, "speed_percent = [100, 50, 25, 100]");
  const auto two = candidate("1f1b", {2, 4, 1}, {2, 2}, 2);
  EXPECT_DOUBLE_EQ(stage_speed(cluster, two, 0), 0.25);
  EXPECT_DOUBLE_EQ(stage_speed(cluster, two, 1), 0.5);
  const auto costs = costs_of(equal_units(4, 8), cluster, two);
  EXPECT_DOUBLE_EQ(costs.stages[0].chunks[0].forward.mean, 8);
}

Cluster two_nodes() {
  return parse_cluster(
      "[ranks]\ncount = 8\nper_node = 4\nmemory_gib = 1\ntflops = 1\n[node]\nlatency_us = 1\n"
      "gb_per_s = 100\n[network]\nlatency_us = 9\ngb_per_s = 10\n",
      "c.toml");
}

TEST(CostModelTest, LinksBetweenNodesAreSlower) {
  const auto costs = costs_of(equal_units(8, 8), two_nodes(),
                              candidate("1f1b", {8, 8, 1}, {1, 1, 1, 1, 1, 1, 1, 1}));
  ASSERT_EQ(costs.links.size(), 7u);
  EXPECT_DOUBLE_EQ(costs.links[2].latency, 1e-6);
  EXPECT_DOUBLE_EQ(costs.links[3].latency, 9e-6);
  EXPECT_DOUBLE_EQ(costs.links[4].latency, 1e-6);
  EXPECT_DOUBLE_EQ(costs.link.latency, 9e-6);
}

TEST(CostModelTest, ReplicasOfAStageMeetInTheNodeOnlyIfAllFit) {
  const auto workload = tiny();
  // 328 and 432 parameters: stage 1 has more to sum.
  const double bytes = 432 * 4;
  EXPECT_DOUBLE_EQ(
      all_reduce_seconds(workload, two_nodes(), candidate("1f1b", {2, 4, 1}, {2, 2}, 2)),
      ring_all_reduce(bytes, 2, {1e-6, 100e9}));
  EXPECT_DOUBLE_EQ(
      all_reduce_seconds(workload, two_nodes(), candidate("1f1b", {2, 2, 1}, {2, 2}, 4)),
      ring_all_reduce(bytes, 4, {9e-6, 10e9}));
}

TEST(CostModelTest, BucketsHideBehindTheLastBackward) {
  auto workload = tiny();
  const auto two = candidate("1f1b", {2, 4, 1}, {2, 2}, 2);
  auto cluster = two_nodes();
  cluster.ranks.unit_overhead_us = 1;
  const double exposed = all_reduce_seconds(workload, cluster, two);
  workload.bucketed = true;
  const auto costs = costs_of(workload, cluster, two);
  EXPECT_LT(all_reduce_seconds(workload, cluster, two), exposed);
  EXPECT_GE(all_reduce_seconds(workload, cluster, two),
            exposed - costs.stages[1].chunks[0].backward.mean - 1e-12);
}

TEST(CostModelTest, ATiedEmbeddingIsExchangedBetweenItsHolders) {
  auto workload = tiny();
  const auto two = candidate("1f1b", {2, 8, 1}, {2, 2});
  const double untied = reduction_seconds(workload, two_nodes(), two);
  EXPECT_DOUBLE_EQ(untied, 2 * 1e-6);  // norm and loss: up and down one level
  workload.model.tied = true;
  EXPECT_DOUBLE_EQ(reduction_seconds(workload, two_nodes(), two), untied + 1e-6 + 128 * 4 / 100e9);
  EXPECT_DOUBLE_EQ(
      reduction_seconds(workload, two_nodes(), candidate("zb-v", {2, 8, 2}, {1, 1, 1, 1})), untied);
}

TEST(CostModelTest, LoneUpdatesWaitForTheirOwnAllReduce) {
  const auto workload = tiny();
  const auto two = candidate("pipedream", {2, 4, 1}, {2, 2}, 2);
  const auto costs = costs_of(workload, two_nodes(), two);
  EXPECT_EQ(costs.reduction, 0);
  EXPECT_DOUBLE_EQ(costs.stages[0].contribute.mean, ring_all_reduce(328 * 4, 2, {1e-6, 100e9}));
}

TEST(CostModelTest, NoScheduleBeatsItsLowerBound) {
  const auto workload = tiny(16);
  const auto cluster = two_nodes();
  for (const auto& schedule : schedule::registry()) {
    const int chunks = schedule.default_chunks;
    const auto counts =
        chunks == 2 ? std::vector<std::int64_t>{1, 1, 1, 1} : std::vector<std::int64_t>{2, 2};
    const auto one = candidate(schedule.name.c_str(), {2, 8, chunks}, counts, 2);
    const auto costs = costs_of(workload, cluster, one);
    const double step = predict(workload, cluster, one).step_seconds;
    EXPECT_LE(lower_bound(one, costs), step * (1 + 1e-12)) << schedule.name;
    EXPECT_GT(lower_bound(one, costs), 0.2 * step) << schedule.name;
  }
}

}  // namespace
}  // namespace penstock::plan
