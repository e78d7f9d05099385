#include "data/documents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/random.h"

namespace penstock::data {
namespace {

using Texts = std::vector<std::string>;

Texts documents_of(std::string_view text, std::string_view separator) {
  Texts documents;
  for_each_document(text, separator,
                    [&](std::string_view document) { documents.emplace_back(document); });
  return documents;
}

TEST(Documents, AFileIsOneWithoutASeparator) {
  EXPECT_EQ(documents_of("a\n--\nb", ""), (Texts{"a\n--\nb"}));
  EXPECT_EQ(documents_of("", ""), Texts{});
}

TEST(Documents, SeparatorStandsAloneOnItsLine) {
  EXPECT_EQ(documents_of("a\n--\nb\n--\r\nc\n--", "--"), (Texts{"a\n", "b\n", "c\n"}));
  EXPECT_EQ(documents_of("--\na -- b\n---\n--x\n--\n", "--"), (Texts{"a -- b\n---\n--x\n"}));
  EXPECT_EQ(documents_of("a\r\n--\r\n\r\n--\n--\nb", "--"), (Texts{"a\r\n", "\r\n", "b"}));
  EXPECT_EQ(documents_of("--\n--\r", "--"), Texts{});
  EXPECT_EQ(documents_of("nothing", "--"), (Texts{"nothing"}));
}

TEST(Documents, BinaryIsAZeroByteInTheBeginning) {
  EXPECT_FALSE(looks_binary(""));
  EXPECT_FALSE(looks_binary("text\xff"));
  EXPECT_TRUE(looks_binary(std::string_view("te\0xt", 5)));
  EXPECT_TRUE(looks_binary(std::string(8191, 'a') + '\0'));
  EXPECT_FALSE(looks_binary(std::string(8192, 'a') + '\0'));
}

std::vector<std::uint64_t> random_hashes(std::size_t count) {
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = 0; i < count; ++i) hashes.push_back(random_bits(1, i));
  return hashes;
}

std::size_t val_count(const std::vector<std::uint64_t>& hashes, const DocumentSplit& split) {
  return static_cast<std::size_t>(
      std::count_if(hashes.begin(), hashes.end(), [&](auto hash) { return split.is_val(hash); }));
}

TEST(DocumentSplit, TakesTheFractionButLeavesBothSidesOne) {
  const auto hashes = random_hashes(100);
  EXPECT_EQ(val_count(hashes, DocumentSplit(hashes, 0.1)), 10U);
  EXPECT_EQ(val_count(hashes, DocumentSplit(hashes, 0.001)), 1U);
  EXPECT_EQ(val_count(hashes, DocumentSplit(hashes, 0.999)), 99U);
  EXPECT_EQ(val_count(hashes, DocumentSplit()), 0U);
}

TEST(DocumentSplit, DependsOnContentsOnly) {
  auto hashes = random_hashes(50);
  const DocumentSplit split(hashes, 0.2);
  auto doubled = hashes;
  std::reverse(doubled.begin(), doubled.end());
  doubled.insert(doubled.end(), hashes.begin(), hashes.end());
  const DocumentSplit same(doubled, 0.2);
  for (const std::uint64_t hash : hashes) EXPECT_EQ(split.is_val(hash), same.is_val(hash));
}

TEST(DocumentSplit, NeedsTwoDifferentDocuments) {
  EXPECT_THROW(DocumentSplit({5, 5, 5}, 0.5), std::invalid_argument);
}

}  // namespace
}  // namespace penstock::data
