#include "kernels/exp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace penstock::kernels {
namespace {

constexpr double promised_error = 2e-7;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

double relative_error(float actual, float x) {
  const double expected = std::exp(static_cast<double>(x));
  return std::abs(actual - expected) / expected;
}

TEST(Exp, WithinThePromisedErrorOnTheWholeRange) {
  double worst = 0;
  for (double x = -87; x <= 88; x += 1.7e-4) {
    const auto argument = static_cast<float>(x);
    worst = std::max(worst, relative_error(exp_approx(argument), argument));
  }
  EXPECT_LT(worst, promised_error);
}

TEST(Exp, WithinThePromisedErrorWhereTheExponentChanges) {
  for (int n = -125; n <= 126; ++n) {
    const auto middle = static_cast<float>((n + 0.5) * std::log(2.0));
    float x = middle;
    for (int i = 0; i < 50; ++i) x = std::nextafter(x, -infinity);
    for (int i = 0; i < 100; ++i, x = std::nextafter(x, infinity)) {
      ASSERT_LT(relative_error(exp_approx(x), x), promised_error) << x;
    }
  }
}

TEST(Exp, SpecialValues) {
  EXPECT_EQ(exp_approx(0.0F), 1.0F);
  EXPECT_EQ(exp_approx(-0.0F), 1.0F);
  EXPECT_EQ(exp_approx(std::numeric_limits<float>::denorm_min()), 1.0F);
  EXPECT_GT(exp_approx(-87.0F), 0.0F);
  EXPECT_EQ(exp_approx(std::nextafter(-87.0F, -infinity)), 0.0F);
  EXPECT_EQ(exp_approx(-1e4F), 0.0F);
  EXPECT_EQ(exp_approx(-infinity), 0.0F);
  EXPECT_EQ(exp_approx(1e4F), exp_approx(88.0F));
  EXPECT_EQ(exp_approx(infinity), exp_approx(88.0F));
  EXPECT_TRUE(std::isnan(exp_approx(nan)));
  EXPECT_TRUE(std::isnan(exp_approx(-nan)));
}

}  // namespace
}  // namespace penstock::kernels
