#include "kernels/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::fp32_rounding;
using tests::normal;
using tests::Path;
using tests::same_bits;
using tests::storage_rounding;
using tests::Threads;
using tests::variable;
using tests::within;

constexpr double eps = 1e-5;

/// Roundings on the longest way to inverse_rms: a square and the sum of n terms in 16 lanes, halved
/// by the root, then one conversion.
double inverse_rms_roundings(std::int64_t width) {
  return (static_cast<double>(width) / 16 + 18) / 2 + 1;
}

at::Tensor inverse_rms(const at::Tensor& x) { return (x.square().mean(1, true) + eps).rsqrt(); }

struct Inputs {
  at::Tensor x, gain, dy, residual;

  Inputs(std::int64_t rows, std::int64_t width, at::ScalarType type, double scale = 1)
      : x(normal({rows, width}, "x", scale, type)),
        gain((normal({width}, "gain", 0.3) + 1).to(type)),
        dy(normal({rows, width}, "dy", 1, type)),
        residual(normal({rows, width}, "residual", 1, type)) {}
};

using Case = std::tuple<std::int64_t, std::int64_t, at::ScalarType, double, const Path*>;

class RmsNormTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t rows = std::get<0>(GetParam());
  std::int64_t width = std::get<1>(GetParam());
  at::ScalarType type = std::get<2>(GetParam());
  Inputs in{rows, width, type, std::get<3>(GetParam())};
  const Path& path = *std::get<4>(GetParam());
};

TEST_P(RmsNormTest, IsItsFormula) {
  const Normalized result = path.rms_norm(in.x, in.gain, eps);
  const at::Tensor x = in.x.to(at::kDouble);
  const at::Tensor r = inverse_rms(x);
  const at::Tensor y = x * r * in.gain.to(at::kDouble);
  const double roundings = inverse_rms_roundings(width);
  EXPECT_EQ(result.y.scalar_type(), type);
  EXPECT_EQ(result.inverse_rms.scalar_type(), at::kFloat);
  EXPECT_TRUE(within(result.inverse_rms, r.squeeze(1), roundings * fp32_rounding * r.squeeze(1)));
  // Two products more, and the rounding to the type of y.
  const double relative = (roundings + 2) * fp32_rounding + storage_rounding(type);
  EXPECT_TRUE(within(result.y, y, relative * y.abs()));
}

TEST_P(RmsNormTest, GradientsAreThoseOfAutograd) {
  const at::Tensor inverse = path.rms_norm(in.x, in.gain, eps).inverse_rms;
  const at::Tensor before = normal({width}, "before");
  at::Tensor gain_gradient = before.clone();
  const at::Tensor dx =
      path.rms_norm_backward(in.dy, in.x, in.gain, inverse, in.residual, gain_gradient);

  const at::Tensor x = variable(in.x);
  const at::Tensor gain = variable(in.gain);
  const at::Tensor dy = in.dy.to(at::kDouble);
  const at::Tensor residual = in.residual.to(at::kDouble);
  (x * inverse_rms(x) * gain * dy).sum().backward();

  // Bounds: the same expressions with absolute values, times the roundings on the longest way.
  const at::Tensor size = x.detach().abs();
  const at::Tensor r = inverse_rms(x.detach());
  const at::Tensor direct = r * (dy * gain.detach()).abs();
  const at::Tensor through_norm =
      size * r.pow(3) * (dy * gain.detach() * size).abs().sum(1, true) / width;
  const double norm_roundings = 3 * inverse_rms_roundings(width);
  const double sum_roundings = static_cast<double>(width) / 16 + 24;
  const at::Tensor expected_dx = residual + x.grad();
  const at::Tensor dx_bound =
      fp32_rounding *
          ((norm_roundings + sum_roundings) * (direct + through_norm) + residual.abs()) +
      storage_rounding(type) * (expected_dx.abs() + 1e-4 * (direct + through_norm));
  EXPECT_EQ(dx.scalar_type(), type);
  EXPECT_TRUE(within(dx, expected_dx, dx_bound));

  // The gain's gradient is fp32 for both types: rows are added one after the other.
  const at::Tensor row_sum = (dy.abs() * size * r).sum(0);
  const double roundings = inverse_rms_roundings(width) + static_cast<double>(rows) + 5;
  EXPECT_TRUE(within(gain_gradient, before.to(at::kDouble) + gain.grad(),
                     roundings * fp32_rounding * (row_sum + before.abs())));
}

// The scale 1e-3 makes eps larger than the mean square, the scale 1e4 makes it vanish.
INSTANTIATE_TEST_SUITE_P(Sizes, RmsNormTest,
                         testing::Combine(testing::Values(1, 3, 257),
                                          testing::Values(1, 3, 17, 257),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(1e-3, 1.0, 1e4),
                                          testing::ValuesIn(tests::all_paths)));

TEST(RmsNorm, ZeroRowsGiveZerosAndFiniteGradients) {
  for (const Path* path : tests::all_paths) {
    const at::Tensor x = at::zeros({2, 5});
    const at::Tensor gain = at::ones({5});
    const Normalized result = path->rms_norm(x, gain, eps);
    EXPECT_TRUE(at::equal(result.y, x));
    EXPECT_FLOAT_EQ(result.inverse_rms[0].item<float>(), static_cast<float>(1 / std::sqrt(eps)));
    at::Tensor gain_gradient = at::zeros({5});
    const at::Tensor dx = path->rms_norm_backward(at::ones({2, 5}), x, gain, result.inverse_rms,
                                                  at::zeros({2, 5}), gain_gradient);
    EXPECT_TRUE(at::allclose(dx, at::full({2, 5}, 1 / std::sqrt(eps)), 1e-6));
    EXPECT_TRUE(at::equal(gain_gradient, at::zeros({5})));
  }
}

TEST(RmsNorm, NoResidualIsOneOfZeros) {
  for (const Path* path : tests::all_paths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const Inputs in(257, 65, type);
      const at::Tensor inverse = rms_norm(in.x, in.gain, eps).inverse_rms;
      const auto gradient_with = [&](const at::Tensor& residual, at::Tensor gain_gradient) {
        return path->rms_norm_backward(in.dy, in.x, in.gain, inverse, residual, gain_gradient);
      };
      at::Tensor without = at::zeros({65});
      at::Tensor with = at::zeros({65});
      EXPECT_TRUE(at::equal(gradient_with(at::Tensor(), without),
                            gradient_with(at::zeros_like(in.x), with)));
      EXPECT_TRUE(same_bits(without, with));
    }
  }
}

TEST(RmsNorm, NanStaysInItsRow) {
  for (const Path* path : tests::all_paths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const Inputs in(3, 17, type);
      const Normalized clean = path->rms_norm(in.x, in.gain, eps);
      in.x[1][4] = std::numeric_limits<double>::quiet_NaN();
      const Normalized result = path->rms_norm(in.x, in.gain, eps);
      EXPECT_TRUE(result.y[1].isnan().all().item<bool>());
      EXPECT_TRUE(same_bits(result.y[0], clean.y[0]));
      EXPECT_TRUE(same_bits(result.y[2], clean.y[2]));
      at::Tensor gain_gradient = at::zeros({17});
      const at::Tensor dx = path->rms_norm_backward(in.dy, in.x, in.gain, result.inverse_rms,
                                                    in.residual, gain_gradient);
      EXPECT_TRUE(dx[1].isnan().all().item<bool>());
      EXPECT_FALSE(dx[0].isnan().any().item<bool>());
      EXPECT_TRUE(gain_gradient.isnan().all().item<bool>());
    }
  }
}

TEST(RmsNorm, TheSameBitsForEveryNumberOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Inputs in(1001, 65, type);
    const auto run = [&](int threads) {
      const Threads guard(threads);
      const Normalized forward = rms_norm(in.x, in.gain, eps);
      at::Tensor gain_gradient = at::zeros({65});
      const at::Tensor dx =
          rms_norm_backward(in.dy, in.x, in.gain, forward.inverse_rms, in.residual, gain_gradient);
      return std::vector{forward.y, forward.inverse_rms, dx, gain_gradient};
    };
    const auto one = run(1);
    for (const int threads : {2, 3}) {
      const auto more = run(threads);
      for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(more[i], one[i])) << i;
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
