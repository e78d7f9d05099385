#include "kernels/newton_schulz_symmetric.h"

#include <gtest/gtest.h>

#include "kernels/helpers.h"

namespace penstock::kernels {
namespace {

using tests::bf16_rounding;
using tests::fp32_rounding;
using tests::normal;
using tests::same_bits;
using tests::within;

// Blocks that divide n, that do not, that are n, and that are larger.
class SymmetricProductTest : public testing::TestWithParam<std::int64_t> {
 protected:
  std::int64_t block = GetParam();

  static double rounding(at::ScalarType type) {
    return type == at::kBFloat16 ? bf16_rounding : fp32_rounding;
  }
  static bool is_symmetric(const at::Tensor& a) { return same_bits(a, a.t()); }
};

TEST_P(SymmetricProductTest, IsTheProductWithTheTranspose) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const bool transposed : {false, true}) {
      const at::Tensor x =
          transposed ? normal({50, 48}, "x", 1, type).t() : normal({48, 50}, "x", 1, type);
      at::Tensor out = at::full({48, 48}, 7, x.options());
      symmetric_product(x, out, block);
      const at::Tensor exact = x.to(at::kDouble);
      const at::Tensor magnitude = at::matmul(exact.abs(), exact.t().abs());
      // 50 roundings of fp32 sums, one of the result.
      EXPECT_TRUE(within(out, at::matmul(exact, exact.t()),
                         magnitude * (50 * fp32_rounding + rounding(type))));
    }
  }
}

TEST_P(SymmetricProductTest, IsTheQuadraticPolynomial) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = normal({48, 50}, "x", 0.2, at::kDouble);
    const at::Tensor a = at::matmul(x, x.t()).to(type);
    at::Tensor out = at::full({48, 48}, 7, a.options());
    symmetric_quadratic(a, -4.5, 2, out, block);
    const at::Tensor exact = a.to(at::kDouble);
    const at::Tensor squares = at::matmul(exact.abs(), exact.abs());
    // The sum of 48 products may be rounded to `type` before b a is added, and the result is.
    EXPECT_TRUE(
        within(out, -4.5 * exact + 2 * at::matmul(exact, exact),
               (4.5 * exact.abs() + 2 * squares) * (50 * fp32_rounding + 2 * rounding(type))));
  }
}

TEST_P(SymmetricProductTest, WhatIsMirroredIsSymmetricToTheBit) {
  const at::Tensor x = normal({48, 50}, "x");
  at::Tensor out = at::empty({48, 48});
  symmetric_product(x, out, block);
  for (std::int64_t from = 0; from < 48; from += block) {
    const std::int64_t to = std::min<std::int64_t>(48, from + block);
    out.slice(0, from, to).slice(1, from, to).zero_();  // the library's own business
  }
  EXPECT_TRUE(is_symmetric(out));
}

INSTANTIATE_TEST_SUITE_P(Blocks, SymmetricProductTest, testing::Values(1, 7, 16, 20, 47, 48, 100));

}  // namespace
}  // namespace penstock::kernels
