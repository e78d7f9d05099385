#include "plan/candidate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/example.h"

namespace penstock::plan {
namespace {

TEST(WeightedPartitionTest, EqualSpeedsAreTheModelsOwnPartition) {
  const std::vector<double> costs{3, 1, 4, 1, 5, 9, 2, 6};
  EXPECT_EQ(weighted_partition(costs, {2, 2, 2}), model::balanced_partition(costs, 3));
}

TEST(WeightedPartitionTest, NoOtherCutHasAFasterSlowestPiece) {
  const std::vector<double> costs{3, 1, 4, 1, 5, 9, 2, 6};
  const std::vector<double> speeds{1, 0.5, 2};
  const auto worst = [&](std::size_t a, std::size_t b) {
    const auto sum = [&](std::size_t from, std::size_t to) {
      double all = 0;
      for (std::size_t i = from; i < to; ++i) all += costs[i];
      return all;
    };
    return std::max(
        {sum(0, a) / speeds[0], sum(a, b) / speeds[1], sum(b, costs.size()) / speeds[2]});
  };
  const auto cut = weighted_partition(costs, speeds);
  const double found =
      worst(static_cast<std::size_t>(cut[0].last), static_cast<std::size_t>(cut[1].last));
  for (std::size_t a = 1; a < 7; ++a) {
    for (std::size_t b = a + 1; b < 8; ++b) EXPECT_LE(found, worst(a, b)) << a << " " << b;
  }
}

TEST(CandidateTest, DescribesItself) {
  EXPECT_EQ(describe(candidate("zb-v", {2, 4, 2}, {1, 1, 1, 1}, 3)),
            "zb-v (2 chunks), 2 stages x 3 replicas, 4 x 1 sequence, recompute none");
}

}  // namespace
}  // namespace penstock::plan
