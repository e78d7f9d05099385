// What the formulas' own tests (kernels/paths.h) do not show of the composed kernels: that tensors
// of other devices get them, and that nothing is made on the wrong device. The device is "meta",
// which has shapes and types but no memory, and refuses operations with tensors of the CPU.

#include "kernels/composed.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/helpers.h"
#include "kernels/linear.h"
#include "kernels/newton_schulz.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::cpu_path;

at::Tensor meta(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(type).device(at::kMeta));
}

void expect_meta(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type) {
  EXPECT_TRUE(x.is_meta());
  EXPECT_EQ(x.sizes(), shape);
  EXPECT_EQ(x.scalar_type(), type);
}

class OtherDevice : public testing::TestWithParam<at::ScalarType> {
 protected:
  at::ScalarType type = GetParam();
};

TEST_P(OtherDevice, RmsNorm) {
  const at::Tensor x = meta({6, 5}, type);
  const at::Tensor gain = meta({5}, type);
  const auto [y, inverse_rms] = cpu_path.rms_norm(x, gain, 1e-5);
  expect_meta(y, {6, 5}, type);
  expect_meta(inverse_rms, {6}, at::kFloat);
  expect_meta(cpu_path.rms_norm_backward(y, x, gain, inverse_rms, x, meta({5}, at::kFloat)), {6, 5},
              type);
}

TEST_P(OtherDevice, Rotation) {
  const auto tables = rotary_tables(3, 4, 1e4, at::kMeta);
  expect_meta(tables.cosine, {3, 2}, at::kFloat);
  for (const auto direction : {Rotation::forward, Rotation::inverse}) {
    EXPECT_NO_THROW(cpu_path.rotate(meta({6, 13}, type), 2, 4, 3, tables, direction));
  }
}

TEST_P(OtherDevice, Swiglu) {
  const at::Tensor y = cpu_path.swiglu(meta({6, 10}, type));
  expect_meta(y, {6, 5}, type);
  expect_meta(cpu_path.swiglu_backward(y, meta({6, 10}, type)), {6, 10}, type);
}

TEST_P(OtherDevice, CrossEntropy) {
  const at::Tensor logits = meta({6, 11}, type);
  const at::Tensor targets = meta({6}, at::kLong);
  expect_meta(composed::cross_entropy(logits, targets), {}, at::kDouble);
  expect_meta(composed::cross_entropy_with_gradient(logits, targets, 1), {}, at::kDouble);
  // Only the number that both return cannot be had there.
  EXPECT_THROW(cpu_path.cross_entropy(logits, targets), c10::Error);
}

TEST_P(OtherDevice, Attention) {
  const HeadShape shape{4, 2, 6};
  const at::Tensor qkv = meta({10, 48}, type);
  const auto result = cpu_path.attention(qkv, shape, 2);
  expect_meta(result.y, {10, 24}, type);
  expect_meta(result.log_sum, {2, 4, 5}, at::kFloat);
  expect_meta(cpu_path.attention_backward(result.y, qkv, result, shape, 2), {10, 48}, type);
}

TEST_P(OtherDevice, Gradients) {
  const at::Tensor tokens = meta({6}, at::kLong);
  EXPECT_NO_THROW(
      cpu_path.add_embedding_gradient(meta({9, 4}, at::kFloat), meta({6, 4}, type), tokens));
  EXPECT_NO_THROW(
      linear_add_weight_gradient(meta({3, 4}, at::kFloat), meta({6, 3}, type), meta({6, 4}, type)));
  expect_meta(newton_schulz(meta({3, 4}, at::kFloat), {.precision = type}), {3, 4}, at::kFloat);
}

INSTANTIATE_TEST_SUITE_P(Types, OtherDevice, testing::Values(at::kFloat, at::kBFloat16));

TEST(Composed, BlocksOfQueriesDoNotChangeTheResult) {
  const HeadShape shape{4, 2, 16};
  const at::Tensor qkv = tests::normal({3 * 17, 128}, "qkv");
  const at::Tensor dy = tests::normal({3 * 17, 64}, "dy");
  const auto whole = composed::attention(qkv, shape, 3, 17);
  const at::Tensor gradient = composed::attention_backward(dy, qkv, whole, shape, 3, 17);
  for (const std::int64_t queries : {1, 5, 16}) {
    const auto blocks = composed::attention(qkv, shape, 3, queries);
    // The same sums in another order: 17 terms of about 1.
    EXPECT_TRUE(at::allclose(blocks.y, whole.y, 1e-5, 1e-6)) << queries;
    EXPECT_TRUE(at::allclose(blocks.log_sum, whole.log_sum, 1e-5, 1e-6)) << queries;
    EXPECT_TRUE(at::allclose(composed::attention_backward(dy, qkv, blocks, shape, 3, queries),
                             gradient, 1e-4, 1e-5))
        << queries;
  }
}

TEST(Composed, AttentionNeedsBoundedMemory) {
  const HeadShape shape{9, 3, 64};
  EXPECT_EQ(composed::queries_at_once(shape, 1, 128), 128);
  // 2^26 scores of fp32 are 256 MiB.
  const std::int64_t queries = composed::queries_at_once(shape, 8, 2048);
  EXPECT_EQ(queries, (std::int64_t{1} << 26) / (9 * 8 * 2048));
  EXPECT_EQ(composed::queries_at_once(shape, 64, 65536), 64);
}

TEST(Composed, CrossEntropyInGroupsOfRows) {
  // 2^25 elements at once: 40 rows of 2^20 are two groups.
  const std::int64_t vocab = std::int64_t{1} << 20;
  const at::Tensor logits = at::zeros({40, vocab}, at::kBFloat16);
  for (std::int64_t row = 0; row < 40; ++row) logits[row][row] = 1;
  const at::Tensor targets = at::arange(40, at::kLong);
  const at::Tensor gradient = logits.clone();
  const double loss = composed::cross_entropy_with_gradient(gradient, targets, 1).item<double>();
  const double sum = static_cast<double>(vocab) - 1 + std::exp(1.0);
  // Of fp32 terms: e^-1 has 2 roundings, their sum some 20 more.
  EXPECT_NEAR(loss, 40 * (std::log(sum) - 1), 40 * 22 * tests::fp32_rounding);
  EXPECT_EQ(composed::cross_entropy(logits, targets).item<double>(), loss);
  for (const std::int64_t row : {0, 39}) {
    EXPECT_NEAR(gradient[row][row].item<double>(), std::exp(1.0) / sum - 1, tests::bf16_rounding);
    EXPECT_NEAR(gradient[row][40].item<double>() * sum, 1, tests::bf16_rounding);
  }
}

}  // namespace
}  // namespace penstock::kernels
