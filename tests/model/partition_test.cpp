#include "model/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "config/presets.h"

namespace penstock::model {
namespace {

using Costs = std::vector<double>;
using Ranges = std::vector<UnitRange>;

/// What a cut is judged by: its worst stage, then the sum of squares.
std::pair<double, double> quality(const Costs& costs, const Ranges& ranges) {
  double worst = 0;
  double squares = 0;
  for (const auto& range : ranges) {
    const double cost =
        std::accumulate(costs.begin() + range.first, costs.begin() + range.last, 0.0);
    worst = std::max(worst, cost);
    squares += cost * cost;
  }
  return {worst, squares};
}

bool is_partition(const Ranges& ranges, std::size_t units, int stages) {
  if (ranges.size() != static_cast<std::size_t>(stages)) return false;
  std::int64_t next = 0;
  for (const auto& range : ranges) {
    if (range.first != next || range.last <= range.first) return false;
    next = range.last;
  }
  return next == static_cast<std::int64_t>(units);
}

/// The best of all cuts: `first` starts the next stage.
std::pair<double, double> best_of_all(const Costs& costs, int stages, std::int64_t first = 0,
                                      const Ranges& before = {}) {
  const auto units = static_cast<std::int64_t>(costs.size());
  Ranges ranges = before;
  if (stages == 1) {
    ranges.push_back({first, units});
    return quality(costs, ranges);
  }
  std::pair best(1e300, 1e300);
  for (std::int64_t last = first + 1; last <= units - (stages - 1); ++last) {
    ranges.push_back({first, last});
    best = std::min(best, best_of_all(costs, stages - 1, last, ranges));
    ranges.pop_back();
  }
  return best;
}

TEST(Partition, NoCutIsBetterForAnySmallChain) {
  // Whole numbers, so that sums are exact; few values, so that there are ties and zeros.
  std::uint64_t counter = 0;
  for (std::size_t units = 1; units <= 9; ++units) {
    for (int repetition = 0; repetition < 30; ++repetition) {
      Costs costs(units);
      const std::uint64_t range = repetition % 3 == 0 ? 3 : 50;
      for (double& cost : costs) cost = static_cast<double>(random_bits(17, ++counter) % range);
      for (int stages = 1; stages <= static_cast<int>(units); ++stages) {
        const Ranges ranges = balanced_partition(costs, stages);
        ASSERT_TRUE(is_partition(ranges, units, stages)) << units << " units, " << stages;
        ASSERT_EQ(quality(costs, ranges), best_of_all(costs, stages))
            << testing::PrintToString(costs) << " in " << stages;
      }
    }
  }
}

TEST(Partition, SpreadsWhatTheWorstStageLeavesOpen) {
  // 9 must stand alone: the others are cut evenly although any cut has the worst stage 9.
  EXPECT_EQ(balanced_partition({9, 1, 1, 1, 1}, 3), (Ranges{{0, 1}, {1, 3}, {3, 5}}));
}

TEST(Partition, EveryStageHasAUnitEvenOfNoCost) {
  EXPECT_EQ(balanced_partition({0, 0, 0}, 3), (Ranges{{0, 1}, {1, 2}, {2, 3}}));
  EXPECT_TRUE(is_partition(balanced_partition({0, 0, 5, 0}, 3), 4, 3));
}

TEST(Partition, CountsByHand) {
  EXPECT_EQ(partition_from_counts({1, 4, 1}), (Ranges{{0, 1}, {1, 5}, {5, 6}}));
  EXPECT_EQ(partition_from_counts({6}), (Ranges{{0, 6}}));
}

TEST(Partition, TheConfigurationDecides) {
  config::Config config;
  config.model = *config::find_preset("bench-10m");
  config.pipeline.stages = 2;
  Costs costs;
  for (const auto& unit : units(config.model)) costs.push_back(unit.cost);
  EXPECT_EQ(partition(config), balanced_partition(costs, 2));
  config.pipeline.partition = {3, 15};
  EXPECT_EQ(partition(config), (Ranges{{0, 3}, {3, 18}}));
}

TEST(Partition, AHeavyHeadIsBalancedBySubBlocks) {
  // The head of bench-10m costs as much as three of its layers.
  config::Config config;
  config.model = *config::find_preset("bench-10m");
  config.pipeline.stages = 2;
  const Ranges ranges = partition(config);
  Costs costs;
  for (const auto& unit : units(config.model)) costs.push_back(unit.cost);
  const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
  const double largest_layer_unit = *std::max_element(costs.begin(), costs.end() - 1);
  EXPECT_LE(quality(costs, ranges).first, all / 2 + largest_layer_unit / 2);
  EXPECT_GT(ranges[0].last, 10) << "the first stage has more layers than the one with the head";
}

TEST(Partition, TheMapShowsUnitsParametersAndWork) {
  std::vector<Unit> chain(3);
  chain[0] = {UnitKind::embedding, 0, {{{{"e", ParameterKind::embedding, {1000, 1500}}}}}, 0};
  chain[1] = {UnitKind::mlp, 4, {{{{"m", ParameterKind::matrix, {100, 100}}}}}, 1};
  chain[2] = {UnitKind::head, 0, {}, 3};
  EXPECT_EQ(
      stage_map(chain, {{{0, 2}, 0}, {{2, 3}, 1}}, false),
      "  stage 0:  2 units, embedding .. mlp 4              1.51 M parameters,  25.0 % of the "
      "work\n"
      "  stage 1:  1 units, head                            0.00 M parameters,  75.0 % of the "
      "work\n");
}

}  // namespace
}  // namespace penstock::model
