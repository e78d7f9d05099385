#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "kernels/block_product.h"
#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::fp32_rounding;
using tests::normal;
using tests::storage_rounding;
using tests::within;

using tests::Path;
using tests::same_bits;
using tests::Threads;

using Case = std::tuple<std::int64_t, std::int64_t, std::int64_t, at::ScalarType, const Path*>;

class LinearTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t n = std::get<0>(GetParam());
  std::int64_t in = std::get<1>(GetParam());
  std::int64_t out = std::get<2>(GetParam());
  at::ScalarType type = std::get<3>(GetParam());
  const Path& path = *std::get<4>(GetParam());
  at::Tensor x = normal({n, in}, "x", 1, type);
  at::Tensor weight = normal({out, in}, "weight", 1, type);
  at::Tensor dy = normal({n, out}, "dy", 1, type);

  /// A sum of `terms` products has at most terms + 1 roundings of its absolute size; a bf16 result
  /// is rounded once more.
  at::Tensor bound(const at::Tensor& a, const at::Tensor& b) const {
    const auto terms = static_cast<double>(a.size(1));
    const at::Tensor size = at::matmul(a.abs(), b.abs());
    return (terms + 1) * fp32_rounding * size +
           1.01 * storage_rounding(type) * at::matmul(a, b).abs();
  }
};

TEST_P(LinearTest, IsTheProductWithTheTransposedWeight) {
  const at::Tensor y = path.linear(x, weight);
  const at::Tensor a = x.to(at::kDouble);
  const at::Tensor b = weight.to(at::kDouble).t();
  EXPECT_EQ(y.scalar_type(), type);
  EXPECT_TRUE(within(y, at::matmul(a, b), bound(a, b)));
}

TEST_P(LinearTest, AResidualIsAddedBeforeRounding) {
  const at::Tensor residual = normal({n, out}, "residual", 3, type);
  const at::Tensor before = residual.clone();
  const at::Tensor y = path.linear_add(residual, x, weight);
  const at::Tensor a = x.to(at::kDouble);
  const at::Tensor b = weight.to(at::kDouble).t();
  const at::Tensor expected = residual.to(at::kDouble) + at::matmul(a, b);
  EXPECT_EQ(y.scalar_type(), type);
  EXPECT_TRUE(same_bits(residual, before));
  EXPECT_TRUE(within(y, expected,
                     bound(a, b) + 1.01 * storage_rounding(type) * expected.abs() +
                         2 * fp32_rounding * static_cast<double>(in) * residual.abs()));
}

TEST_P(LinearTest, InputGradient) {
  const at::Tensor dx = path.linear_input_gradient(dy, weight);
  const at::Tensor a = dy.to(at::kDouble);
  const at::Tensor b = weight.to(at::kDouble);
  EXPECT_EQ(dx.scalar_type(), type);
  EXPECT_TRUE(within(dx, at::matmul(a, b), bound(a, b)));
}

TEST_P(LinearTest, WeightGradientIsAddedInFp32) {
  const at::Tensor before = normal({out, in}, "before", 100);
  at::Tensor gradient = before.clone();
  path.linear_add_weight_gradient(gradient, dy, x);
  const at::Tensor a = dy.to(at::kDouble).t();
  const at::Tensor b = x.to(at::kDouble);
  const at::Tensor expected = before.to(at::kDouble) + at::matmul(a, b);
  // Additions in fp32 for both types: of every product in turn in fp32, of the finished sum in
  // bf16.
  // Products of blocks add in parts of at most 256 terms in both types.
  const double additions =
      type == at::kFloat ? static_cast<double>(n) : static_cast<double>(n) / 256 + 1;
  EXPECT_TRUE(within(gradient, expected,
                     bound(a, b) + additions * fp32_rounding * (expected.abs() + before.abs())));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearTest,
                         testing::Combine(testing::Values(1, 17, 64, 257),
                                          testing::Values(1, 3, 256, 257, 600),
                                          testing::Values(1, 17, 65, 300),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::ValuesIn(tests::all_paths)));

TEST(Linear, NumberOfThreadsDoesNotMatter) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    if (!has_block_products(type)) continue;  // LibTorch's products promise less
    const at::Tensor x = normal({300, 512}, "x", 1, type);
    const at::Tensor weight = normal({260, 512}, "weight", 1, type);
    const at::Tensor dy = normal({300, 260}, "dy", 1, type);
    const auto all_with = [&](int count) {
      const Threads threads(count);
      at::Tensor gradient = at::zeros({260, 512});
      linear_add_weight_gradient(gradient, dy, x);
      return std::tuple{kernels::linear(x, weight), linear_input_gradient(dy, weight), gradient};
    };
    const auto [y, dx, dw] = all_with(1);
    const auto [y3, dx3, dw3] = all_with(3);
    EXPECT_TRUE(same_bits(y, y3) && same_bits(dx, dx3) && same_bits(dw, dw3));
  }
}

TEST(Linear, NanReachesItsRow) {
  const at::Tensor x = normal({3, 5}, "x");
  x[1][2] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor bad = kernels::linear(x, normal({4, 5}, "weight")).isnan();
  EXPECT_TRUE(bad[1].all().item<bool>());
  EXPECT_EQ(bad.sum().item<std::int64_t>(), 4);
}

TEST(Linear, NanReachesTheWeightGradient) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor dy = normal({3, 4}, "dy", 1, type);
    dy[1][2] = std::numeric_limits<double>::quiet_NaN();
    at::Tensor gradient = at::zeros({4, 5});
    linear_add_weight_gradient(gradient, dy, normal({3, 5}, "x", 1, type));
    EXPECT_TRUE(gradient.isnan()[2].all().item<bool>());
    EXPECT_EQ(gradient.isnan().sum().item<std::int64_t>(), 5);
  }
}

}  // namespace
}  // namespace penstock::kernels
