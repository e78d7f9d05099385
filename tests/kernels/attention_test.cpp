#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <tuple>

#include "kernels/block_attention.h"
#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::bf16_rounding;
using tests::fp32_rounding;
using tests::norm_error;
using tests::normal;
using tests::Path;
using tests::same_bits;
using tests::variable;
using tests::within;

struct Case {
  std::int64_t sequences, tokens;
  HeadShape shape;
  at::ScalarType type;

  std::int64_t rows() const { return sequences * tokens; }
  std::int64_t qkv_width() const { return (shape.heads + 2 * shape.kv_heads) * shape.width; }
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.sequences << " x " << c.tokens << ", " << c.shape.heads << "/" << c.shape.kv_heads
       << " heads of " << c.shape.width << ", " << c.type;
}

struct Reference {
  at::Tensor y;          // [B*T, H*D]
  at::Tensor magnitude;  // the same sums with |v| for v
  double largest_score;  // of the sums with absolute values
};

/// Softmax over the scores of the tokens so far, written out, in double.
Reference reference(const at::Tensor& qkv, const Case& c) {
  const std::int64_t heads = c.shape.heads;
  const std::int64_t kv_heads = c.shape.kv_heads;
  const std::int64_t width = c.shape.width;
  const at::Tensor split =
      qkv.view({c.sequences, c.tokens, heads + 2 * kv_heads, width}).transpose(1, 2);
  const at::Tensor q = split.narrow(1, 0, heads);
  // Query heads g * group .. (g + 1) * group - 1 share key and value head g.
  const at::Tensor k = split.narrow(1, heads, kv_heads).repeat_interleave(heads / kv_heads, 1);
  const at::Tensor v =
      split.narrow(1, heads + kv_heads, kv_heads).repeat_interleave(heads / kv_heads, 1);
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  const at::Tensor future = at::ones({c.tokens, c.tokens}, at::kBool).triu(1);
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) * scale;
  const at::Tensor p = at::softmax(scores.masked_fill(future, -1e300), 3);
  const auto rows = [&](const at::Tensor& x) {
    return x.transpose(1, 2).reshape({c.rows(), heads * width});
  };
  const at::Tensor sizes = at::matmul(q.abs(), k.abs().transpose(2, 3)) * scale;
  return {rows(at::matmul(p, v)), rows(at::matmul(p, v.abs())).detach(),
          sizes.max().item<double>()};
}

class AttentionTest : public testing::TestWithParam<std::tuple<Case, const Path*>> {
 protected:
  Case c = std::get<0>(GetParam());
  const Path& path = *std::get<1>(GetParam());
  at::Tensor qkv = normal({c.rows(), c.qkv_width()}, "qkv", 1, c.type);
  at::Tensor dy = normal({c.rows(), c.shape.heads* c.shape.width}, "dy", 1, c.type);
};

TEST_P(AttentionTest, IsItsFormula) {
  const Attended result = path.attention(qkv, c.shape, c.sequences);
  const Reference expected = reference(qkv.to(at::kDouble), c);
  EXPECT_EQ(result.y.scalar_type(), c.type);
  // A score is a sum of D products: D + 2 roundings of its absolute size, which are the relative
  // error of e^score, once in the sum and once in the normaliser; two sums over T tokens; some 16
  // for exponential, maximum and division. bf16 rounds the weights p, the output, and, where a row
  // is worked on in blocks, what is carried over.
  const double fp32 = 2 * (static_cast<double>(c.shape.width) + 2) * expected.largest_score +
                      2 * static_cast<double>(c.tokens) + 16;
  const double bf16 = c.type == at::kBFloat16 ? 3 : 0;
  EXPECT_TRUE(within(result.y, expected.y,
                     (fp32 * fp32_rounding + bf16 * bf16_rounding) * expected.magnitude));
}

TEST_P(AttentionTest, GradientIsThatOfAutograd) {
  const Attended forward = path.attention(qkv, c.shape, c.sequences);
  const at::Tensor gradient = path.attention_backward(dy, qkv, forward, c.shape, c.sequences);
  const at::Tensor x = variable(qkv);
  (reference(x, c).y * dy.to(at::kDouble)).sum().backward();
  EXPECT_EQ(gradient.scalar_type(), c.type);
  ASSERT_EQ(gradient.sizes(), qkv.sizes());
  // Queries, keys and values one by one: they differ in size. With a single token the gradients of
  // queries and keys vanish, so all are compared with the whole. Per element some 2 (D + T) terms
  // are rounded independently, twice (scores, products with them); bf16 rounds y, p, the scores'
  // gradient and the result, and the former enter a difference of numbers of twice the size.
  const double terms = 4 * static_cast<double>(c.shape.width + c.tokens);
  const double tolerance =
      8 * std::sqrt(terms) * fp32_rounding + (c.type == at::kBFloat16 ? 6 * bf16_rounding : 0);
  const double whole = x.grad().norm().item<double>();
  std::int64_t first = 0;
  for (const std::int64_t heads : {c.shape.heads, c.shape.kv_heads, c.shape.kv_heads}) {
    const std::int64_t columns = heads * c.shape.width;
    const at::Tensor expected = x.grad().narrow(1, first, columns);
    const at::Tensor actual = gradient.narrow(1, first, columns).to(at::kDouble);
    const double size = c.tokens == 1 ? whole : expected.norm().item<double>();
    EXPECT_LT((actual - expected).norm().item<double>(), tolerance * size)
        << "columns from " << first;
    first += columns;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         testing::Combine(testing::Values(Case{1, 1, {1, 1, 8}, at::kFloat},
                                                          Case{1, 3, {2, 1, 6}, at::kFloat},
                                                          Case{3, 17, {4, 2, 16}, at::kFloat},
                                                          Case{2, 257, {3, 1, 10}, at::kFloat},
                                                          Case{1, 64, {2, 1, 16}, at::kFloat},
                                                          Case{1, 1100, {2, 1, 16}, at::kFloat},
                                                          Case{1, 65, {9, 3, 64}, at::kFloat},
                                                          Case{2, 33, {3, 3, 32}, at::kFloat},
                                                          Case{1, 1, {1, 1, 8}, at::kBFloat16},
                                                          Case{3, 17, {4, 2, 16}, at::kBFloat16},
                                                          Case{1, 7, {2, 2, 5}, at::kBFloat16},
                                                          Case{1, 1100, {2, 1, 16}, at::kBFloat16},
                                                          Case{2, 257, {3, 1, 64}, at::kBFloat16}),
                                          testing::ValuesIn(tests::attention_paths)));

TEST(Attention, LargeScoresPickOneToken) {
  for (const Path* path : tests::attention_paths) {
    // Scores of token t with key s are +-1e4 s-dependent: the largest takes all the weight.
    const Case c{1, 5, {1, 1, 4}, at::kFloat};
    at::Tensor qkv = at::zeros({5, 12});
    for (std::int64_t t = 0; t < 5; ++t) {
      qkv[t][0] = 200;                             // query
      qkv[t][4] = t == 2 ? 100 : -100;             // key: score +-1e4
      qkv[t][8] = static_cast<float>(10 * t + 1);  // value
    }
    const Attended result = path->attention(qkv, c.shape, 1);
    const at::Tensor first = result.y.select(1, 0);
    EXPECT_NEAR(first[1].item<float>(), 6, 1e-5) << "equal scores: the mean of values 1 and 11";
    for (const std::int64_t t : {2, 3, 4}) EXPECT_EQ(first[t].item<float>(), 21.0F);
    const at::Tensor gradient = path->attention_backward(at::ones({5, 4}), qkv, result, c.shape, 1);
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    EXPECT_EQ(gradient[2][8].item<float>(), 3.0F) << "three tokens read the value of token 2";
  }
}

TEST(Attention, ATokenSeesNoLaterOne) {
  for (const Path* path : tests::attention_paths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const HeadShape shape{4, 2, 16};
      const at::Tensor qkv = normal({17, 128}, "qkv", 1, type);
      at::Tensor changed = qkv.clone();
      changed.narrow(0, 9, 8).add_(3);
      const at::Tensor y = path->attention(qkv, shape, 1).y;
      const at::Tensor other = path->attention(changed, shape, 1).y;
      EXPECT_TRUE(same_bits(other.narrow(0, 0, 9), y.narrow(0, 0, 9)));
      EXPECT_GT(norm_error(other.narrow(0, 9, 8), y.narrow(0, 9, 8).to(at::kDouble)), 0.1);
    }
  }
}

TEST(Attention, SequencesAreApart) {
  for (const Path* path : tests::attention_paths) {
    const HeadShape shape{4, 2, 16};
    const at::Tensor qkv = normal({3 * 17, 128}, "qkv");
    const at::Tensor y = path->attention(qkv, shape, 3).y;
    for (std::int64_t b = 0; b < 3; ++b) {
      const at::Tensor alone = path->attention(qkv.narrow(0, 17 * b, 17), shape, 1).y;
      EXPECT_TRUE(at::allclose(alone, y.narrow(0, 17 * b, 17), 1e-5, 1e-6)) << b;
    }
    qkv[20][3] = std::numeric_limits<float>::quiet_NaN();  // a query of the second sequence
    const at::Tensor bad = path->attention(qkv, shape, 3).y.isnan();
    EXPECT_TRUE(bad.narrow(0, 17, 17).any().item<bool>());
    EXPECT_FALSE(bad.narrow(0, 0, 17).any().item<bool>());
    EXPECT_FALSE(bad.narrow(0, 34, 17).any().item<bool>());
  }
}

TEST(Attention, NumberOfThreadsDoesNotMatter) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const HeadShape shape{4, 2, 16};
    const at::Tensor qkv = normal({3 * 70, 128}, "qkv", 1, type);
    const at::Tensor dy = normal({3 * 70, 64}, "dy", 1, type);
    if (!has_block_attention(qkv, shape)) continue;  // LibTorch's kernel promises less
    const auto gradient_with = [&](int count) {
      const tests::Threads threads(count);
      return attention_backward(dy, qkv, attention(qkv, shape, 3), shape, 3);
    };
    EXPECT_TRUE(same_bits(gradient_with(1), gradient_with(3)));
  }
}

}  // namespace
}  // namespace penstock::kernels
