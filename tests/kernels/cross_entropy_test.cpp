#include "kernels/cross_entropy.h"

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
using tests::random_tokens;
using tests::same_bits;
using tests::storage_rounding;
using tests::Threads;
using tests::variable;
using tests::within;

constexpr float infinity = std::numeric_limits<float>::infinity();

at::Tensor reference_loss(const at::Tensor& logits, const at::Tensor& targets) {
  return at::logsumexp(logits, 1).sub(logits.gather(1, targets.unsqueeze(1)).squeeze(1)).sum();
}

/// Relative error of each e^(logit - peak) and of their sum, [N, V] and [N]: 2e-7 (3.4 roundings)
/// of the exponential itself, one rounding of the difference in its argument, and the roundings of
/// a sum in 16 lanes.
struct Bounds {
  at::Tensor terms, sums, probabilities;

  explicit Bounds(const at::Tensor& logits) {
    const at::Tensor differences = logits - logits.amax(1, true);
    probabilities = at::softmax(logits, 1);
    terms = fp32_rounding * (differences.abs() + 3.4);
    sums = (terms * probabilities).sum(1) +
           fp32_rounding * (static_cast<double>(logits.size(1)) / 16 + 17);
  }
};

using Case = std::tuple<std::int64_t, std::int64_t, at::ScalarType, double, const Path*>;

class CrossEntropyTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t tokens = std::get<0>(GetParam());
  std::int64_t vocab = std::get<1>(GetParam());
  at::ScalarType type = std::get<2>(GetParam());
  const Path& path = *std::get<4>(GetParam());
  at::Tensor logits = normal({tokens, vocab}, "logits", std::get<3>(GetParam()), type);
  at::Tensor targets = random_tokens(tokens, vocab, "targets");
};

TEST_P(CrossEntropyTest, LossIsThatOfLogSumExp) {
  const at::Tensor exact = logits.to(at::kDouble);
  const double expected = reference_loss(exact, targets).item<double>();
  // Logarithm, peak and target logit are double: a relative error of the sum is an absolute one of
  // the loss. The last term is for the additions in double.
  const double bound = Bounds(exact).sums.sum().item<double>() + 1e-13 * std::abs(expected);
  EXPECT_NEAR(path.cross_entropy(logits, targets), expected, bound);
}

TEST_P(CrossEntropyTest, GradientIsThatOfAutograd) {
  constexpr double scale = 0.3;
  const at::Tensor x = variable(logits);
  const at::Tensor loss = reference_loss(x, targets);
  (loss * scale).backward();
  const at::Tensor exact = logits.to(at::kDouble);
  const Bounds bounds(exact);

  const double without_gradient = path.cross_entropy(logits, targets);
  const double returned = path.cross_entropy_with_gradient(logits, targets, scale);
  EXPECT_EQ(returned, without_gradient);
  // The factor's conversion, the product, and the subtraction at the target.
  const at::Tensor chosen =
      at::zeros({tokens, vocab}, at::kDouble).scatter_(1, targets.unsqueeze(1), 1.0);
  const at::Tensor relative = bounds.terms + bounds.sums.unsqueeze(1) + 2 * fp32_rounding;
  const at::Tensor bound = scale * (bounds.probabilities * relative + 2 * fp32_rounding * chosen) +
                           1.01 * storage_rounding(type) * x.grad().abs() + 1e-37;
  EXPECT_EQ(logits.scalar_type(), type);
  EXPECT_TRUE(within(logits, x.grad(), bound));
}

INSTANTIATE_TEST_SUITE_P(Sizes, CrossEntropyTest,
                         testing::Combine(testing::Values(1, 3, 17),
                                          testing::Values(1, 3, 17, 257, 8191),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(0.0, 1.0, 1e4),
                                          testing::ValuesIn(tests::all_paths)));

TEST(CrossEntropy, EqualLogitsGiveTheLogarithmOfTheirNumber) {
  for (const Path* path : tests::all_paths) {
    for (const float level : {0.0F, 1e4F, -1e4F}) {
      const at::Tensor logits = at::full({2, 64}, level);
      const at::Tensor targets = at::tensor({0, 63}, at::kLong);
      // Double precision at the size of the level: 2 tokens, 1e4 * 2^-52 each.
      EXPECT_NEAR(path->cross_entropy(logits, targets), 2 * std::log(64.0), 5e-12) << level;
      path->cross_entropy_with_gradient(logits, targets, 1);
      EXPECT_EQ(logits[0][5].item<float>(), 1.0F / 64);
      EXPECT_EQ(logits[1][63].item<float>(), 1.0F / 64 - 1);
    }
  }
}

TEST(CrossEntropy, LargeDifferencesStayFinite) {
  for (const Path* path : tests::all_paths) {
    const at::Tensor logits = at::tensor({1e4F, -1e4F, 0.0F}).repeat({2, 1});
    const at::Tensor targets = at::tensor({1, 0}, at::kLong);
    EXPECT_EQ(path->cross_entropy(logits, targets), 2e4);
    path->cross_entropy_with_gradient(logits, targets, 1);
    EXPECT_TRUE(at::equal(logits, at::tensor({1.0F, -1.0F, 0.0F, 0.0F, 0.0F, 0.0F}).view({2, 3})));
  }
}

TEST(CrossEntropy, ImpossibleTargetsCostInfinity) {
  for (const Path* path : tests::all_paths) {
    const at::Tensor logits = at::tensor({0.0F, -infinity}).view({1, 2});
    EXPECT_EQ(path->cross_entropy(logits, at::tensor({1}, at::kLong)), infinity);
    EXPECT_EQ(path->cross_entropy(logits, at::tensor({0}, at::kLong)), 0);
  }
}

TEST(CrossEntropy, NanAndInfinityMakeTheLossNan) {
  for (const Path* path : tests::all_paths) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity}) {
      for (const std::int64_t place : {0, 8, 16}) {
        for (const auto type : {at::kFloat, at::kBFloat16}) {
          const at::Tensor logits = normal({3, 17}, "logits", 1, type);
          const at::Tensor clean = logits.clone();
          const at::Tensor targets = at::tensor({1, 2, 3}, at::kLong);
          path->cross_entropy_with_gradient(clean, targets, 1);
          logits[1][place] = bad;
          EXPECT_TRUE(std::isnan(path->cross_entropy(logits, targets)));
          EXPECT_TRUE(std::isnan(path->cross_entropy_with_gradient(logits, targets, 1)));
          EXPECT_TRUE(logits[1].isnan().any().item<bool>());
          EXPECT_TRUE(same_bits(logits[0], clean[0]) && same_bits(logits[2], clean[2]));
        }
      }
    }
  }
}

TEST(CrossEntropy, TheSameBitsForEveryNumberOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor logits = normal({101, 257}, "logits", 3, type);
    const at::Tensor targets = random_tokens(101, 257, "targets");
    const auto run = [&](int threads) {
      const Threads guard(threads);
      const at::Tensor gradient = logits.clone();
      const double loss = cross_entropy_with_gradient(gradient, targets, 0.01);
      return std::tuple(cross_entropy(logits, targets), loss, gradient);
    };
    const auto [loss, training_loss, gradient] = run(1);
    for (const int threads : {2, 3}) {
      const auto [other_loss, other_training_loss, other_gradient] = run(threads);
      EXPECT_EQ(other_loss, loss);
      EXPECT_EQ(other_training_loss, training_loss);
      EXPECT_TRUE(same_bits(other_gradient, gradient));
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
