#include "kernels/newton_schulz.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/helpers.h"

namespace penstock::kernels {
namespace {

using tests::bf16_rounding;
using tests::fp32_rounding;
using tests::norm_error;
using tests::normal;
using tests::same_bits;

using Coefficients = NewtonSchulzCoefficients;

// As published, with more steps than there are triples.
const std::vector<std::array<double, 3>> polar_express = {
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

/// What the steps do to singular values.
at::Tensor polynomial(at::Tensor s, const NewtonSchulz& options) {
  for (std::int64_t step = 0; step < options.steps; ++step) {
    const auto [a, b, c] = options.coefficients == Coefficients::classic
                               ? std::array{3.4445, -4.7750, 2.0315}
                               : polar_express.at(static_cast<std::size_t>(step));
    s = a * s + b * s.pow(3) + c * s.pow(5);
  }
  return s;
}

/// The same map through a singular value decomposition in double.
at::Tensor reference(const at::Tensor& gradient, const NewtonSchulz& options = {}) {
  const at::Tensor g = gradient.to(at::kDouble);
  const at::Tensor divisor =
      options.coefficients == Coefficients::classic ? g.norm() + 1e-7 : 1.02 * g.norm() + 1e-6;
  const auto [u, s, vh] = at::linalg_svd(g / divisor, false);
  return at::matmul(u * polynomial(s, options), vh);
}

/// With singular values between 1/2 and 1: no direction is lost in the noise.
at::Tensor well_conditioned(std::int64_t rows, std::int64_t columns) {
  const auto [u, s, vh] = at::linalg_svd(normal({rows, columns}, "g", 1, at::kDouble), false);
  return at::matmul(u * at::linspace(0.5, 1, s.numel(), at::kDouble), vh).to(at::kFloat);
}

// Noise in X, which starts with norm 1, grows like the smallest singular values: by `a` a step,
// 3.4445^5 = 485 in all, with Polar Express 8.16 * 4.04 * 3.89 * 3.29 * 2.35 / 1.02 = 970 and 2.35
// more for each step after the fifth. A rounding of the start becomes at most 485 u = 2.9e-5 beside
// a result whose norm is 0.7 or more; the later steps' noise grows less.
double growth(const NewtonSchulz& options) {
  double product = 1;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    product *= options.coefficients == Coefficients::classic
                   ? 3.4445
                   : polar_express.at(static_cast<std::size_t>(step))[0];
  }
  return product;
}
double fp32_tolerance(const NewtonSchulz& options = {}) {
  return growth(options) * fp32_rounding / 0.7;
}

// Each of the five steps rounds A, its polynomial and X. A rounding of the polynomial, whose norm
// is up to 4.8 (b A), is worth up to 5 of X's own: 7 * 5 roundings of the spectrum, and
// independent, so their root: 6. The small start is amplified meanwhile: twice that.
//
// With Polar Express near s = 1, terms of 8, -22 and 15 cancel in the first step: some 50 roundings
// beside a result of 1.2. Singular values end somewhere else in their band then. So where they are
// few and therefore large, only the band and the directions are compared.
constexpr double bf16_tolerance = 12 * bf16_rounding;
constexpr std::int64_t many_singular_values = 17;

/// U V^T.
at::Tensor directions(const at::Tensor& matrix) {
  const auto [u, s, vh] = at::linalg_svd(matrix.to(at::kDouble), false);
  return at::matmul(u, vh);
}

// Small ones are plain products, those beyond 128 (fp32) and 384 (bf16) have blocks, some ragged.
using Shape = std::tuple<std::int64_t, std::int64_t>;
const Shape shapes[] = {{1, 1},   {1, 17},  {17, 1},    {3, 257},   {257, 3},   {17, 17},
                        {24, 65}, {65, 24}, {128, 128}, {150, 131}, {130, 300}, {395, 401}};

class NewtonSchulzTest : public testing::TestWithParam<std::tuple<Shape, Coefficients>> {
 protected:
  std::int64_t rows = std::get<0>(std::get<0>(GetParam()));
  std::int64_t columns = std::get<1>(std::get<0>(GetParam()));
  NewtonSchulz fp32{.coefficients = std::get<1>(GetParam())};
  NewtonSchulz bf16{.coefficients = std::get<1>(GetParam()), .precision = at::kBFloat16};

  const tests::Threads one_thread{1};  // decompositions of small matrices are slow on more

  bool cancels_in_bf16() const {
    return bf16.coefficients == Coefficients::polar_express &&
           std::min(rows, columns) < many_singular_values;
  }
};

TEST_P(NewtonSchulzTest, IsThePolynomialOfTheSingularValues) {
  const at::Tensor g = normal({rows, columns}, "g", 3);
  const at::Tensor result = newton_schulz(g, fp32);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  ASSERT_EQ(result.sizes(), g.sizes());
  EXPECT_LT(norm_error(result, reference(g, fp32)), fp32_tolerance(fp32));
}

TEST_P(NewtonSchulzTest, AgreesWithThePlainProducts) {
  const at::Tensor g = normal({rows, columns}, "g", 3);
  EXPECT_LT(norm_error(newton_schulz(g, fp32), newton_schulz_plain(g, fp32).to(at::kDouble)),
            2 * fp32_tolerance(fp32));
  if (cancels_in_bf16()) return;
  const at::Tensor good = well_conditioned(rows, columns);
  EXPECT_LT(norm_error(newton_schulz(good, bf16), newton_schulz_plain(good, bf16).to(at::kDouble)),
            2 * bf16_tolerance);
}

TEST_P(NewtonSchulzTest, Bf16FollowsWhereNoSingularValueIsSmall) {
  const at::Tensor g = well_conditioned(rows, columns);
  const at::Tensor result = newton_schulz(g, bf16);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  const double error = norm_error(result, reference(g, bf16));
  EXPECT_GT(error, 0.1 * bf16_rounding) << "not bf16 at all";
  if (cancels_in_bf16()) return;
  EXPECT_LT(error, bf16_tolerance);
}

TEST_P(NewtonSchulzTest, SingularValuesComeNearOneAndDirectionsStay) {
  // The ranges of newton_schulz.h, and some noise of bf16.
  const bool classic = fp32.coefficients == Coefficients::classic;
  const at::Tensor g = well_conditioned(rows, columns);
  struct Case {
    NewtonSchulz options;
    double noise, tolerance;
  };
  for (const auto& [options, noise, tolerance] :
       {Case{fp32, 1e-4, fp32_tolerance(fp32)}, Case{bf16, 0.03, bf16_tolerance}}) {
    const at::Tensor result = newton_schulz(g, options);
    const auto [u, s, vh] = at::linalg_svd(result.to(at::kDouble), false);
    EXPECT_GT(s.min().item<double>(), (classic ? 0.68 : 0.84) - noise);
    EXPECT_LT(s.max().item<double>(), (classic ? 1.21 : 1.15) + noise);
    EXPECT_LT(norm_error(directions(result), directions(g)), tolerance);
  }
}

TEST_P(NewtonSchulzTest, BitsDoNotDependOnTheBatch) {
  const at::Tensor batch = normal({3, rows, columns}, "batch");
  for (const auto& options : {fp32, bf16}) {
    const at::Tensor result = newton_schulz(batch, options);
    ASSERT_EQ(result.sizes(), batch.sizes());
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(same_bits(result[i], newton_schulz(batch[i], options))) << i;
    }
  }
}

TEST_P(NewtonSchulzTest, ThePlainOneTakesBatchesToo) {
  const at::Tensor batch = normal({3, rows, columns}, "batch", 3);
  const at::Tensor result = newton_schulz_plain(batch, fp32);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_LT(norm_error(result[i], reference(batch[i], fp32)), fp32_tolerance(fp32)) << i;
  }
}

TEST_P(NewtonSchulzTest, TakesAnyNumberOfSteps) {
  const at::Tensor g = normal({rows, columns}, "g");
  for (const std::int64_t steps : {1, 2, 4, 7}) {
    fp32.steps = steps;
    // Few steps amplify little, but their terms cancel and sums of hundreds of products are not
    // exact: at least as much is allowed as to five classic steps.
    EXPECT_LT(norm_error(newton_schulz(g, fp32), reference(g, fp32)),
              std::max(fp32_tolerance(fp32), fp32_tolerance()))
        << steps;
    NewtonSchulz one_less = fp32;
    one_less.steps = steps + 1;
    EXPECT_GT(norm_error(newton_schulz(g, one_less), reference(g, fp32)), 0.01) << steps;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NewtonSchulzTest,
                         testing::Combine(testing::ValuesIn(shapes),
                                          testing::Values(Coefficients::classic,
                                                          Coefficients::polar_express)));

TEST(NewtonSchulz, IgnoresTheScaleOfTheGradient) {
  const at::Tensor g = normal({9, 20}, "g");
  const at::Tensor expected = newton_schulz(g).to(at::kDouble);
  for (const double scale : {1e-3, 1e4, 1e12}) {
    // eps is worth 1e-7 / (scale |g|) of the result's slope, |g| = 13.
    EXPECT_LT(norm_error(newton_schulz(g * scale), expected), fp32_tolerance() + 1e-8 / scale);
  }
}

TEST(NewtonSchulz, EpsilonMattersForTinyGradients) {
  // |g| = eps: the start has about half its norm.
  const at::Tensor g = well_conditioned(8, 12);
  for (const auto& [coefficients, eps] :
       {std::pair(Coefficients::classic, 1e-7), std::pair(Coefficients::polar_express, 1e-6)}) {
    const NewtonSchulz options{.coefficients = coefficients};
    const at::Tensor tiny = g * (eps / g.norm().item<double>());
    EXPECT_LT(norm_error(newton_schulz(tiny, options), reference(tiny, options)),
              fp32_tolerance(options));
    EXPECT_GT(norm_error(newton_schulz(g, options), reference(tiny, options)), 0.01);
  }
}

TEST(NewtonSchulz, TheTwoSetsOfCoefficientsDiffer) {
  const at::Tensor g = normal({9, 20}, "g");
  EXPECT_GT(
      norm_error(newton_schulz(g, {.coefficients = Coefficients::polar_express}), reference(g)),
      0.05);
}

TEST(NewtonSchulz, ZeroStaysZeroAndNanStaysNanInItsMatrix) {
  for (const auto coefficients : {Coefficients::classic, Coefficients::polar_express}) {
    for (const auto precision : {at::kFloat, at::kBFloat16}) {
      for (const std::int64_t n : {3, 130}) {
        const NewtonSchulz options{.coefficients = coefficients, .precision = precision};
        at::Tensor batch = normal({3, n, n + 2}, "g");
        batch[0].zero_();
        batch[1][n - 1][1] = std::numeric_limits<float>::quiet_NaN();
        for (const at::Tensor& result :
             {newton_schulz(batch, options), newton_schulz_plain(batch, options)}) {
          EXPECT_TRUE(at::equal(result[0], batch[0]));
          EXPECT_TRUE(result[1].isnan().all().item<bool>());
          EXPECT_TRUE(result[2].isfinite().all().item<bool>());
        }
      }
    }
  }
}

TEST(NewtonSchulz, LeavesTheGradientAloneAndTakesViews) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    const NewtonSchulz options{.precision = precision};
    const at::Tensor g = normal({140, 150}, "g");
    const at::Tensor before = g.clone();
    at::Tensor result = newton_schulz(g, options);
    EXPECT_TRUE(at::equal(g, before));
    EXPECT_TRUE(result.is_contiguous());
    const at::Tensor view = g.t().slice(1, 3, 133, 2);
    EXPECT_TRUE(same_bits(newton_schulz(view, options), newton_schulz(view.contiguous(), options)));
    result.fill_(7);  // the caller's to change
    EXPECT_TRUE(at::equal(g, before));
  }
}

}  // namespace
}  // namespace penstock::kernels
