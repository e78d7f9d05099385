#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr std::uint64_t key = random_key(7, "model.embed_tokens.weight");
constexpr int samples = 200'000;

TEST(Random, MixIsSplitMix64) {
  // The first outputs of the published generator with seed 0, whose state after k steps is
  // k * 0x9e3779b97f4a7c15 (mix() takes the step itself).
  constexpr std::uint64_t step = 0x9e3779b97f4a7c15ULL;
  EXPECT_EQ(mix(0), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(mix(step), 0x6e789e6aa1b965f4ULL);
  EXPECT_EQ(mix(2 * step), 0x06c45d188009454fULL);
}

TEST(Random, KeysDependOnSeedAndOnEveryCharacter) {
  const std::vector<std::uint64_t> keys = {
      random_key(0, ""),  random_key(1, ""),   random_key(0, "a"),
      random_key(1, "a"), random_key(0, "ab"), random_key(0, "ba"),
      random_key(0, "b"), random_key(0, "aa"), random_key(0, "\xff")};
  EXPECT_EQ(std::set<std::uint64_t>(keys.begin(), keys.end()).size(), keys.size());
  EXPECT_EQ(random_key(3, "x"), random_key(3, std::string("x")));
}

TEST(Random, AFunctionOfKeyAndCounterOnly) {
  EXPECT_EQ(random_bits(key, 5), random_bits(key, 5));
  EXPECT_NE(random_bits(key, 5), random_bits(key, 6));
  EXPECT_NE(random_bits(key, 5), random_bits(key + 1, 5));
  EXPECT_EQ(random_normal(key, 5), random_normal(key, 5));
}

TEST(Random, UniformFillsTheUnitInterval) {
  double sum = 0;
  double least = 1;
  double most = 0;
  for (std::uint64_t i = 0; i < samples; ++i) {
    const double x = random_uniform(key, i);
    least = std::min(least, x);
    most = std::max(most, x);
    sum += x;
  }
  EXPECT_GE(least, 0);
  EXPECT_LT(most, 1);
  EXPECT_LT(least, 1e-4);  // missed with probability (1 - 1e-4)^200000 = 2e-9
  EXPECT_GT(most, 1 - 1e-4);
  // The mean's deviation is sqrt(1 / 12 / 200000) = 6.5e-4; five of them.
  EXPECT_NEAR(sum / samples, 0.5, 3.3e-3);
}

TEST(Random, NormalHasTheMomentsOfTheStandardNormal) {
  double moments[5] = {};
  double product = 0;
  double previous = 0;
  for (std::uint64_t i = 0; i < samples; ++i) {
    const double x = random_normal(key, i);
    ASSERT_TRUE(std::isfinite(x));
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(x, k) / samples;
    product += x * previous / samples;
    previous = x;
  }
  // x^k has the variance (2k - 1)!! - (mean of x^k)^2: 1, 2, 15, 96. Five deviations each.
  const double unit = 5 / std::sqrt(static_cast<double>(samples));
  EXPECT_NEAR(moments[1], 0, unit);
  EXPECT_NEAR(moments[2], 1, unit * std::sqrt(2.0));
  EXPECT_NEAR(moments[3], 0, unit * std::sqrt(15.0));
  EXPECT_NEAR(moments[4], 3, unit * std::sqrt(96.0));
  EXPECT_NEAR(product, 0, unit) << "neighbours are correlated";
}

}  // namespace
}  // namespace penstock
