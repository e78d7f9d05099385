#include "kernels/embedding.h"

#include <gtest/gtest.h>

#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::normal;
using tests::Path;
using tests::random_tokens;
using tests::same_bits;

/// The promised order of additions, element by element.
at::Tensor reference(const at::Tensor& before, const at::Tensor& dy, const at::Tensor& tokens) {
  at::Tensor table = before.clone();
  const at::Tensor values = dy.to(at::kFloat);
  auto sums = table.accessor<float, 2>();
  const auto d = values.accessor<float, 2>();
  const auto token = tokens.accessor<std::int64_t, 1>();
  for (std::int64_t n = 0; n < dy.size(0); ++n) {
    for (std::int64_t i = 0; i < dy.size(1); ++i) sums[token[n]][i] += d[n][i];
  }
  return table;
}

TEST(Embedding, AddsTheRowsInTheOrderOfTheTokens) {
  // LibTorch's index_put_ shares rows between its threads and adds in the order they arrive.
  const tests::Threads one_thread(1);
  for (const Path* path : tests::all_paths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      for (const std::int64_t width : {1, 3, 17, 257}) {
        // 5 rows for 257 tokens: every row is added to many times.
        const at::Tensor tokens = random_tokens(257, 5, "tokens");
        const at::Tensor dy = normal({257, width}, "dy", 1, type);
        const at::Tensor before = normal({5, width}, "before");
        at::Tensor gradient = before.clone();
        path->add_embedding_gradient(gradient, dy, tokens);
        EXPECT_TRUE(same_bits(gradient, reference(before, dy, tokens))) << width << " " << type;
      }
    }
  }
}

TEST(Embedding, TheSameBitsForEveryNumberOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor tokens = random_tokens(257, 5, "tokens");
    const at::Tensor dy = normal({257, 1000}, "dy", 1, type);
    const at::Tensor before = normal({5, 1000}, "before");
    for (const int threads : {1, 2, 3}) {
      const tests::Threads guard(threads);
      at::Tensor gradient = before.clone();
      add_embedding_gradient(gradient, dy, tokens);
      EXPECT_TRUE(same_bits(gradient, reference(before, dy, tokens))) << threads;
    }
  }
}

TEST(Embedding, LeavesTheOtherRowsAlone) {
  for (const Path* path : tests::all_paths) {
    at::Tensor gradient = at::full({4, 3}, 7.0F);
    path->add_embedding_gradient(gradient, at::ones({2, 3}), at::tensor({3, 0}, at::kLong));
    EXPECT_TRUE(at::equal(gradient.select(1, 1), at::tensor({8.0F, 7.0F, 7.0F, 8.0F})));
  }
}

TEST(Embedding, SmallContributionsAreNotLostInBf16) {
  for (const Path* path : tests::all_paths) {
    // 1 + 2^-9 rounds back to 1 in bf16: a table of that type would stay at 1.
    at::Tensor gradient = at::ones({1, 1});
    const at::Tensor dy = at::full({512, 1}, 0x1p-9, at::kBFloat16);
    path->add_embedding_gradient(gradient, dy, at::zeros({512}, at::kLong));
    EXPECT_EQ(gradient.item<float>(), 2.0F);
  }
}

}  // namespace
}  // namespace penstock::kernels
