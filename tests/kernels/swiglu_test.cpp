#include "kernels/swiglu.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::fp32_rounding;
using tests::normal;
using tests::Path;
using tests::storage_rounding;
using tests::variable;
using tests::within;

at::Tensor reference(const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width);
  return gate * at::sigmoid(gate) * gate_up.narrow(1, width, width);
}

// e^x is promised to 2e-7 = 3.4 roundings, and its argument is clamped at 88: there a gate below
// -88 gives gate e^-88 instead of less.
constexpr double exp_roundings = 3.4;
constexpr double clamp = 6.1e-39;

using Case = std::tuple<std::int64_t, std::int64_t, at::ScalarType, double, const Path*>;

class SwigluTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t rows = std::get<0>(GetParam());
  std::int64_t width = std::get<1>(GetParam());
  at::ScalarType type = std::get<2>(GetParam());
  const Path& path = *std::get<4>(GetParam());
  at::Tensor gate_up = normal({rows, 2 * width}, "gate_up", std::get<3>(GetParam()), type);
  at::Tensor dy = normal({rows, width}, "dy", 1, type);
};

TEST_P(SwigluTest, IsItsFormula) {
  const at::Tensor y = path.swiglu(gate_up);
  const at::Tensor exact = gate_up.to(at::kDouble);
  const at::Tensor expected = reference(exact);
  const at::Tensor product = (exact.narrow(1, 0, width) * exact.narrow(1, width, width)).abs();
  // 1 + e, division, product.
  const double relative = (exp_roundings + 3) * fp32_rounding + 1.01 * storage_rounding(type);
  EXPECT_EQ(y.scalar_type(), type);
  EXPECT_TRUE(within(y, expected, relative * expected.abs() + clamp * product));
}

TEST_P(SwigluTest, GradientIsThatOfAutograd) {
  const at::Tensor gradient = path.swiglu_backward(dy, gate_up);
  const at::Tensor x = variable(gate_up);
  (reference(x) * dy.to(at::kDouble)).sum().backward();
  const at::Tensor exact = gate_up.to(at::kDouble);
  const at::Tensor gate = exact.narrow(1, 0, width);
  const at::Tensor up = exact.narrow(1, width, width);
  const at::Tensor sigmoid = at::sigmoid(gate);
  const at::Tensor silu = (gate * sigmoid).abs();
  const at::Tensor d = dy.to(at::kDouble).abs();
  // d(silu) = sigmoid + silu (1 - sigmoid): the sigmoid has exp_roundings + 2, 1 - sigmoid the same
  // in absolute terms, three products and a sum follow.
  const double roundings = 2 * (exp_roundings + 2) + 5;
  const at::Tensor gate_bound = d * up.abs() * (sigmoid + silu + gate.abs() * clamp);
  const at::Tensor up_bound = d * (silu + gate.abs() * clamp);
  const at::Tensor bound = roundings * fp32_rounding * at::cat({gate_bound, up_bound}, 1) +
                           clamp * at::cat({d * up.abs() * (gate.abs() + 1), d * gate.abs()}, 1) +
                           1.01 * storage_rounding(type) * x.grad().abs();
  EXPECT_EQ(gradient.scalar_type(), type);
  EXPECT_TRUE(within(gradient, x.grad(), bound));
}

// The scale 1e4 saturates the sigmoid on both sides.
INSTANTIATE_TEST_SUITE_P(Sizes, SwigluTest,
                         testing::Combine(testing::Values(1, 3, 65), testing::Values(1, 3, 17, 257),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(1.0, 8.0, 1e4),
                                          testing::ValuesIn(tests::all_paths)));

TEST(Swiglu, Saturates) {
  for (const Path* path : tests::all_paths) {
    const at::Tensor gate_up = at::tensor({1e4F, -1e4F, 0.0F, 3.0F, 3.0F, 3.0F}).view({1, 6});
    const at::Tensor y = path->swiglu(gate_up);
    EXPECT_EQ(y[0][0].item<float>(), 3e4F);
    EXPECT_NEAR(y[0][1].item<float>(), 0, 1e-30);
    EXPECT_EQ(y[0][2].item<float>(), 0.0F);
    const at::Tensor gradient = path->swiglu_backward(at::ones({1, 3}), gate_up);
    EXPECT_EQ(gradient[0][0].item<float>(), 3.0F) << "the slope of silu is 1 far above zero";
    EXPECT_NEAR(gradient[0][1].item<float>(), 0, 1e-30);
    EXPECT_EQ(gradient[0][2].item<float>(), 1.5F) << "and 1/2 at zero";
    EXPECT_EQ(gradient[0][3].item<float>(), 1e4F);
  }
}

TEST(Swiglu, NanStaysInItsElement) {
  for (const Path* path : tests::all_paths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor gate_up = normal({2, 34}, "gate_up", 1, type);
      gate_up[1][5] = std::numeric_limits<double>::quiet_NaN();
      gate_up[0][17 + 3] = std::numeric_limits<double>::quiet_NaN();
      const at::Tensor bad = path->swiglu(gate_up).isnan();
      EXPECT_EQ(bad.sum().item<std::int64_t>(), 2);
      EXPECT_TRUE(bad[1][5].item<bool>() && bad[0][3].item<bool>());
      const at::Tensor gradient = path->swiglu_backward(at::ones({2, 17}, type), gate_up).isnan();
      EXPECT_TRUE(gradient[1][5].item<bool>() && gradient[1][17 + 5].item<bool>());
      EXPECT_TRUE(gradient[0][3].item<bool>());
      EXPECT_EQ(gradient.sum().item<std::int64_t>(), 3);
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
