#include "observe/memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock::observe {
namespace {

TEST(PeakRss, GrowsWithWhatIsTouchedAndStays) {
  constexpr std::size_t block = std::size_t{64} << 20;
  const std::int64_t before = peak_rss_bytes();
  EXPECT_GT(before, 1 << 20);
  {
    std::vector<char> memory(block, 1);
    ASSERT_EQ(memory[block / 2], 1);
  }
  // Other memory may have been given back meanwhile, so only a part of the block is certain.
  const std::int64_t after = peak_rss_bytes();
  EXPECT_GE(after, static_cast<std::int64_t>(block));
  EXPECT_GE(after, before);
  EXPECT_LT(after, std::int64_t{1} << 45);  // Bytes, not something larger.
}

}  // namespace
}  // namespace penstock::observe
