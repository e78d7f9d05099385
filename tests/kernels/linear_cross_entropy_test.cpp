#include "kernels/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "kernels/block_product.h"
#include "kernels/helpers.h"
#include "kernels/linear.h"

namespace penstock::kernels {
namespace {

using tests::bf16_rounding;
using tests::fp32_rounding;
using tests::normal;
using tests::random_tokens;
using tests::same_bits;
using tests::Threads;
using tests::variable;

// Panels have 64 rows; an odd width takes LibTorch's products in bf16.
using Case = std::tuple<std::int64_t, std::int64_t, std::int64_t, at::ScalarType>;

class LinearCrossEntropyTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t tokens = std::get<0>(GetParam());
  std::int64_t width = std::get<1>(GetParam());
  std::int64_t vocab = std::get<2>(GetParam());
  at::ScalarType type = std::get<3>(GetParam());
  at::Tensor x = normal({tokens, width}, "x", 1, type);
  at::Tensor weight = normal({vocab, width}, "weight", 0.05, type);
  at::Tensor targets = random_tokens(tokens, vocab, "targets");

  /// Of a logit: `width` terms of sizes |x| |w|, and a rounding to bf16 where logits are stored.
  double logit_error() const {
    const double size =
        at::matmul(x.to(at::kDouble).abs(), weight.to(at::kDouble).abs().t()).max().item<double>();
    const bool stored = type == at::kBFloat16 && !LinearCrossEntropy::in_panels(weight);
    return (static_cast<double>(width) + 1) * fp32_rounding * size +
           (stored ? bf16_rounding * size : 0);
  }
};

TEST_P(LinearCrossEntropyTest, LossAndGradientAreThoseOfLogSumExp) {
  constexpr double scale = 0.25;
  const at::Tensor logits = variable(at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t()));
  const at::Tensor loss =
      (at::logsumexp(logits, 1) - logits.gather(1, targets.unsqueeze(1)).squeeze(1)).sum();
  loss.backward();
  const double expected = loss.item<double>();
  // A loss moves by at most twice what its logits move by, a probability by as much of itself.
  const double error = 2 * logit_error() + 1e-6;
  EXPECT_NEAR(LinearCrossEntropy(weight).loss(x, targets), expected,
              error * static_cast<double>(tokens));
  const LinearCrossEntropy loss_of(weight);
  const auto [sum, dlogits] = loss_of.with_gradient(x, targets, scale);
  EXPECT_TRUE(same_bits(loss_of.input_gradient(dlogits), linear_input_gradient(dlogits, weight)));
  EXPECT_NEAR(sum, expected, error * static_cast<double>(tokens));
  EXPECT_EQ(dlogits.scalar_type(), type);
  const at::Tensor gradient = scale * logits.grad();
  const double rounding = type == at::kBFloat16 ? 2 * bf16_rounding : 4 * fp32_rounding;
  EXPECT_TRUE(tests::within(
      dlogits, gradient,
      (error + rounding) * gradient.abs() + scale * (error + fp32_rounding) * logits.softmax(1)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearCrossEntropyTest,
                         testing::Combine(testing::Values(1, 17, 64, 150),
                                          testing::Values(6, 17, 300), testing::Values(2, 65, 700),
                                          testing::Values(at::kFloat, at::kBFloat16)));

TEST(LinearCrossEntropy, NanStaysInItsRow) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = normal({70, 8}, "x", 1, type);
    x[66][3] = std::numeric_limits<double>::quiet_NaN();
    const auto [loss, dlogits] = LinearCrossEntropy(normal({40, 8}, "weight", 1, type))
                                     .with_gradient(x, random_tokens(70, 40, "targets"), 1);
    EXPECT_TRUE(std::isnan(loss));
    EXPECT_TRUE(dlogits[66].isnan().all().item<bool>());
    EXPECT_EQ(dlogits.isnan().sum().item<std::int64_t>(), 40);
  }
}

TEST(LinearCrossEntropy, NumberOfThreadsDoesNotMatter) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    if (!has_block_products(type)) continue;  // LibTorch's products promise less
    const auto with = [&](int count) {
      const Threads threads(count);
      return LinearCrossEntropy(normal({90, 32}, "weight", 1, type))
          .with_gradient(normal({200, 32}, "x", 1, type), random_tokens(200, 90, "targets"), 0.5);
    };
    EXPECT_EQ(with(1).loss, with(3).loss);
    EXPECT_TRUE(same_bits(with(1).dlogits, with(3).dlogits));
  }
}

}  // namespace
}  // namespace penstock::kernels
