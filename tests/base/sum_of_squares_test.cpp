#include "base/sum_of_squares.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "base/random.h"

namespace penstock {
namespace {

std::vector<float> normal(std::size_t n) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = static_cast<float>(random_normal(random_key(1, "sum_of_squares"), i));
  }
  return values;
}

TEST(SumOfSquares, ExactForWholeNumbers) {
  std::vector<float> values;
  EXPECT_EQ(sum_of_squares(values), 0);
  double expected = 0;
  for (int i = 1; i <= 70; ++i) {
    values.push_back(static_cast<float>(i % 2 == 0 ? i : -i));
    expected += static_cast<double>(i) * i;
    EXPECT_EQ(sum_of_squares(values), expected) << i << " values";
  }
}

TEST(SumOfSquares, AsExactAsDoublePrecisionAllows) {
  for (const std::size_t n : {1U, 3U, 17U, 257U, 4099U}) {
    const auto values = normal(n);
    long double expected = 0;
    for (const float x : values) expected += static_cast<long double>(x) * x;
    // Squares of floats are exact in double; each of at most n/16 + 16 additions rounds to 2^-53.
    const double tolerance = (static_cast<double>(n) / 16 + 16) * 0x1p-53;
    EXPECT_NEAR(sum_of_squares(values) / static_cast<double>(expected), 1, tolerance) << n;
  }
}

TEST(SumOfSquares, TheBitsOfEveryProcessorAreThoseOfSixteenSums) {
  for (const std::size_t n : {1U, 17U, 1003U, 4099U, 10007U, 30011U}) {
    const auto values = normal(n);
    std::array<double, 16> sums{};
    for (std::size_t i = 0; i < n; ++i) {
      const double value = values[i];
      sums.at(i % 16) += value * value;
    }
    double expected = 0;
    for (const double sum : sums) expected += sum;
    EXPECT_EQ(sum_of_squares(values), expected) << n;
  }
}

TEST(SumOfSquares, TheOrderDoesNotDependOnTheAddress) {
  const auto values = normal(1003);
  const double expected = sum_of_squares(values);
  for (std::size_t shift = 1; shift < 16; ++shift) {
    std::vector<float> moved(shift, 9);
    moved.insert(moved.end(), values.begin(), values.end());
    EXPECT_EQ(sum_of_squares(std::span(moved).subspan(shift)), expected) << shift;
  }
}

TEST(SumOfSquares, SquaresBeyondTheRangeOfFloat) {
  const std::vector<float> large(4, 1e30F);
  EXPECT_NEAR(sum_of_squares(large) / 4e60, 1, 1e-6);
  const std::vector<float> small(4, 1e-30F);
  EXPECT_NEAR(sum_of_squares(small) / 4e-60, 1, 1e-6);
}

TEST(SumOfSquares, NanAndInfinityPropagateFromEveryPlace) {
  for (std::size_t place = 0; place < 37; ++place) {
    std::vector<float> values(37, 1);
    values[place] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(sum_of_squares(values))) << place;
    values[place] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(sum_of_squares(values), std::numeric_limits<double>::infinity()) << place;
  }
}

}  // namespace
}  // namespace penstock
