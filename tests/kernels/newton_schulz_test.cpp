#include "kernels/newton_schulz.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/helpers.h"

namespace penstock::kernels {
namespace {

using tests::bf16_rounding;
using tests::fp32_rounding;
using tests::norm_error;
using tests::normal;

/// What the five steps do to a singular value.
at::Tensor quintic(at::Tensor s) {
  for (int step = 0; step < 5; ++step) s = 3.4445 * s - 4.7750 * s.pow(3) + 2.0315 * s.pow(5);
  return s;
}

/// The same map through a singular value decomposition in double.
at::Tensor reference(const at::Tensor& gradient) {
  const at::Tensor g = gradient.to(at::kDouble);
  const auto [u, s, vh] = at::linalg_svd(g / (g.norm() + 1e-7), false);
  return at::matmul(u * quintic(s), vh);
}

/// With singular values between 1/2 and 1: no direction is lost in the noise.
at::Tensor well_conditioned(std::int64_t rows, std::int64_t columns) {
  const auto [u, s, vh] = at::linalg_svd(normal({rows, columns}, "g", 1, at::kDouble), false);
  return at::matmul(u * at::linspace(0.5, 1, s.numel(), at::kDouble), vh).to(at::kFloat);
}

class NewtonSchulzTest : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t>> {
 protected:
  std::int64_t rows = std::get<0>(GetParam());
  std::int64_t columns = std::get<1>(GetParam());
};

// Noise in X, which starts with norm 1, grows like the smallest singular values: by 3.4445 a step,
// 485 in all. A rounding of the start becomes at most 485 u = 2.9e-5 beside a result whose norm is
// 0.7 or more; the later steps' noise grows less.
constexpr double fp32_tolerance = 485 * fp32_rounding / 0.7;

TEST_P(NewtonSchulzTest, IsThePolynomialOfTheSingularValues) {
  const at::Tensor g = normal({rows, columns}, "g", 3);
  const at::Tensor result = newton_schulz(g, at::kFloat);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  ASSERT_EQ(result.sizes(), g.sizes());
  EXPECT_LT(norm_error(result, reference(g)), fp32_tolerance);
}

TEST_P(NewtonSchulzTest, Bf16FollowsWhereNoSingularValueIsSmall) {
  const at::Tensor g = well_conditioned(rows, columns);
  const at::Tensor result = newton_schulz(g, at::kBFloat16);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  // Each of the five steps rounds A, its polynomial and X. A rounding of the polynomial, whose
  // norm is up to 4.8 (b A), is worth up to 5 of X's own: 7 * 5 roundings of the spectrum, and
  // independent, so their root: 6. The small start is amplified meanwhile: twice that.
  EXPECT_LT(norm_error(result, reference(g)), 12 * bf16_rounding);
}

TEST_P(NewtonSchulzTest, SingularValuesComeNearOne) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    const at::Tensor result = newton_schulz(well_conditioned(rows, columns), precision);
    const auto [u, s, vh] = at::linalg_svd(result.to(at::kDouble), false);
    EXPECT_GT(s.min().item<double>(), 0.65);
    EXPECT_LT(s.max().item<double>(), 1.25);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NewtonSchulzTest,
                         testing::Values(std::tuple(1, 1), std::tuple(1, 17), std::tuple(17, 1),
                                         std::tuple(3, 257), std::tuple(257, 3), std::tuple(17, 17),
                                         std::tuple(24, 65), std::tuple(65, 24)));

TEST(NewtonSchulz, IgnoresTheScaleOfTheGradient) {
  const at::Tensor g = normal({9, 20}, "g");
  const at::Tensor expected = newton_schulz(g, at::kFloat).to(at::kDouble);
  for (const double scale : {1e-3, 1e4, 1e12}) {
    // eps is worth 1e-7 / (scale |g|) of the result's slope, |g| = 13.
    EXPECT_LT(norm_error(newton_schulz(g * scale, at::kFloat), expected),
              fp32_tolerance + 1e-8 / scale);
  }
}

TEST(NewtonSchulz, EpsilonMattersForTinyGradients) {
  // |g| = 1e-7 = eps: the start has norm 1/2 instead of 1.
  const at::Tensor g = well_conditioned(8, 12);
  const at::Tensor tiny = g * (1e-7 / g.norm().item<double>());
  EXPECT_LT(norm_error(newton_schulz(tiny, at::kFloat), reference(tiny)), fp32_tolerance);
  EXPECT_GT(norm_error(newton_schulz(g, at::kFloat), reference(tiny)), 0.01);
}

TEST(NewtonSchulz, ZeroStaysZeroAndNanStaysNan) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    EXPECT_TRUE(at::equal(newton_schulz(at::zeros({3, 5}), precision), at::zeros({3, 5})));
    const at::Tensor g = normal({5, 3}, "g");
    g[4][1] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(newton_schulz(g, precision).isnan().all().item<bool>());
  }
}

TEST(NewtonSchulz, LeavesTheGradientAlone) {
  const at::Tensor g = normal({5, 9}, "g");
  const at::Tensor before = g.clone();
  newton_schulz(g, at::kFloat);
  EXPECT_TRUE(at::equal(g, before));
}

}  // namespace
}  // namespace penstock::kernels
