#include "checkpoint/weights_hash.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace penstock::checkpoint {
namespace {

// The expected values come from the Python package xxhash 3 (xxh3_64_hexdigest) over
// struct.pack("<6f", 0.5, -1.25, 3.0, 0.0, -0.0, 1e-3) and
// struct.pack("<300f", *[i * 0.25 - 17 for i in range(300)]).
at::Tensor short_one() { return at::tensor({0.5F, -1.25F, 3.0F, 0.0F, -0.0F, 1e-3F}); }
at::Tensor long_one() { return at::arange(300, at::kFloat) * 0.25 - 17; }

TEST(WeightsHash, IsXxh3OfTheBytesInNameOrder) {
  EXPECT_EQ(weights_hash({}), "2d06800538d394c2");
  EXPECT_EQ(weights_hash({{"a", short_one()}}), "36e825c5d6ce95f0");
  EXPECT_EQ(weights_hash({{"a", long_one()}}), "ca92f307bd796933");
  EXPECT_EQ(weights_hash({{"a", short_one()}, {"b", long_one()}}), "8d44f5cf296bde5f");
  EXPECT_EQ(weights_hash({{"b", short_one()}, {"a", long_one()}}), "ac2ef903cd30508f");
}

TEST(WeightsHash, DoesNotDependOnTheOrderOfInsertion) {
  std::map<std::string, at::Tensor> backwards;
  backwards["b"] = long_one();
  backwards["a"] = short_one();
  EXPECT_EQ(weights_hash(backwards), "8d44f5cf296bde5f");
}

TEST(WeightsHash, DoesNotDependOnShapeOrStrides) {
  EXPECT_EQ(weights_hash({{"a", short_one().view({2, 3})}}), "36e825c5d6ce95f0");
  const at::Tensor strided = at::stack({long_one(), long_one() + 1}, 1).select(1, 0);
  ASSERT_FALSE(strided.is_contiguous());
  EXPECT_EQ(weights_hash({{"a", strided}}), "ca92f307bd796933");
}

TEST(WeightsHash, EveryBitCounts) {
  const std::string expected = weights_hash({{"a", short_one()}, {"b", long_one()}});
  for (int bit = 0; bit < 32; ++bit) {
    const at::Tensor flipped = long_one();
    flipped.view(at::kInt)[299].bitwise_xor_(
        at::scalar_tensor(static_cast<std::int32_t>(std::uint32_t{1} << bit), at::kInt));
    EXPECT_NE(weights_hash({{"a", short_one()}, {"b", flipped}}), expected) << bit;
  }
  at::Tensor negative_zero = short_one();
  negative_zero[3] = -0.0F;
  EXPECT_NE(weights_hash({{"a", negative_zero}, {"b", long_one()}}), expected);
}

TEST(WeightsHash, LeadingZerosAreKept) {
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(weights_hash({{"a", at::full({1}, i, at::kFloat)}}).size(), 16U) << i;
  }
}

}  // namespace
}  // namespace penstock::checkpoint
