#include "data/unigram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

using Counts = std::vector<std::uint64_t>;

// One logarithm per kind of token and at most 8 sums: errors of some 1e-16 each.
constexpr double tolerance = 1e-14;

TEST(Unigram, IsTheEntropyOfCounts) {
  EXPECT_NEAR(unigram_entropy(Counts{3, 0, 3}), std::log(2.0), tolerance);
  EXPECT_NEAR(unigram_entropy(Counts{1, 3}), std::log(4.0) - 0.75 * std::log(3.0), tolerance);
  EXPECT_EQ(unigram_entropy(Counts{0, 5}), 0);
  EXPECT_EQ(unigram_entropy(Counts{}), 0);
}

TEST(Unigram, CountsARangeOnly) {
  const support::TemporaryFolder folder;
  std::vector<Shard> shards;
  shards.emplace_back(folder.write(
      "a.bin", bytes_of_values(std::vector<std::uint16_t>{9, 9, 1, 2, 3, 4, 1, 2, 3, 4, 9})));
  const TokenRange range{std::make_shared<TokenStream>(std::move(shards)), 2, 8};
  EXPECT_NEAR(unigram_entropy(range), std::log(4.0), tolerance);
  EXPECT_EQ(unigram_entropy(TokenRange()), 0);
}

}  // namespace
}  // namespace penstock::data
