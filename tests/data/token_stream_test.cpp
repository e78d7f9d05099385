#include "data/token_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

using Tokens = std::vector<std::int64_t>;

// Shards of 4, 1 and 6 tokens that count on from one to the next, in two widths of formats.
TokenStream stream_of_three(const support::TemporaryFolder& folder) {
  std::vector<Shard> shards;
  shards.emplace_back(write_counting_shard(folder.path(), "a", 0, 4));
  shards.emplace_back(folder.write("b.bin", bytes_of_values(std::vector<std::uint16_t>{4})));
  shards.emplace_back(write_counting_shard(folder.path(), "c", 5, 6));
  return TokenStream(std::move(shards));
}

TEST(TokenStream, ReadsAcrossShardsFromEverywhere) {
  const support::TemporaryFolder folder;
  const TokenStream stream = stream_of_three(folder);
  ASSERT_EQ(stream.size(), 11U);
  for (std::uint64_t offset = 0; offset <= 11; ++offset) {
    for (std::uint64_t count = 0; offset + count <= 11; ++count) {
      Tokens ids(count);
      Tokens expected(count);
      std::iota(expected.begin(), expected.end(), static_cast<std::int64_t>(offset));
      stream.read(offset, ids);
      EXPECT_EQ(ids, expected) << offset << " " << count;
    }
  }
}

TEST(TokenStream, RefusesReadsBehindItsEnd) {
  const support::TemporaryFolder folder;
  const TokenStream stream = stream_of_three(folder);
  Tokens two(2);
  EXPECT_THROW(stream.read(10, two), std::out_of_range);
  EXPECT_THROW(stream.read(~0ULL, two), std::out_of_range);
}

TEST(TokenStream, WholeIsEverything) {
  const support::TemporaryFolder folder;
  const TokenRange range = whole(std::make_shared<TokenStream>(stream_of_three(folder)));
  EXPECT_EQ(range.begin, 0U);
  EXPECT_EQ(range.size, 11U);
  EXPECT_FALSE(range.empty());
  EXPECT_TRUE(TokenRange().empty());
}

}  // namespace
}  // namespace penstock::data
