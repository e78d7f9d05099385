#include "data/content_hash.h"

#include <gtest/gtest.h>

namespace penstock::data {
namespace {

// Shards and caches remember hashes, so the function must never change. The value is the one that
// xxHash gives for XXH3_64bits of nothing with seed 0.
TEST(ContentHash, IsXxh3) {
  EXPECT_EQ(content_hash(""), 0x2d06800538d394c2U);
  EXPECT_NE(content_hash("penstock"), content_hash("penstocl"));
}

TEST(ContentHash, TextHasSixteenDigits) { EXPECT_EQ(hash_text(0xabc), "0000000000000abc"); }

}  // namespace
}  // namespace penstock::data
