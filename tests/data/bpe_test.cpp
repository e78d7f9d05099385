#include "data/bpe.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/bpe_trainer.h"
#include "data/helpers.h"

namespace penstock::data {
namespace {

using Ids = std::vector<std::uint32_t>;

Ids encode(Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

TEST(Bpe, AppliesTheLowestMergeFirstAndLeftmost) {
  // 257 = bc, 258 = ab, 259 = aa, 260 = (bc)d
  const std::vector<Merge> merges = {{'b', 'c'}, {'a', 'b'}, {'a', 'a'}, {257, 'd'}};
  const auto bpe = make_bpe_tokenizer(merges);
  EXPECT_EQ(bpe->vocabulary(), 261U);
  EXPECT_EQ(encode(*bpe, "abc"), (Ids{'a', 257}));
  EXPECT_EQ(encode(*bpe, "ab"), (Ids{258}));
  EXPECT_EQ(encode(*bpe, "aaa"), (Ids{259, 'a'}));
  EXPECT_EQ(encode(*bpe, "aaab"), (Ids{259, 258}));
  EXPECT_EQ(encode(*bpe, "abcd bcd"), (Ids{'a', 260, ' ', 260}));
  EXPECT_EQ(encode(*bpe, ""), Ids{});
}

TEST(Bpe, MergesNothingAcrossPreTokens) {
  const std::vector<Merge> merges = {{'a', '('}, {'1', '2'}};
  const auto bpe = make_bpe_tokenizer(merges);
  EXPECT_EQ(encode(*bpe, "a("), (Ids{'a', '('}));
  EXPECT_EQ(encode(*bpe, "00012"), (Ids{'0', '0', '0', 258}));
  EXPECT_EQ(encode(*bpe, "0012"), (Ids{'0', '0', '1', '2'}));
}

std::shared_ptr<Tokenizer> trained_on_random_text() {
  BpeTrainer trainer;
  trainer.add(random_text(1, 100000));
  return make_bpe_tokenizer(trainer.train(500));
}

// All bytes, runs that are cut, pre-tokens too long for the cache, and the same again from it.
TEST(Bpe, GivesAnyBytesBack) {
  const auto bpe = trained_on_random_text();
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const std::string text = random_text(seed, 20000);
    EXPECT_EQ(bpe->decode(encode(*bpe, text)), text) << seed;
  }
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(bpe->decode(encode(*bpe, all)), all);
}

TEST(Bpe, CacheDoesNotChangeIds) {
  const auto used = trained_on_random_text();
  const std::string text = random_text(5, 50000);
  const Ids first = encode(*used, text);
  for (std::uint64_t seed = 10; seed < 30; ++seed) encode(*used, random_text(seed, 50000));
  EXPECT_EQ(encode(*used, text), first);
  EXPECT_EQ(encode(*trained_on_random_text(), text), first);
  // Every piece alone, each in a tokenizer whose cache has nothing of it.
  EXPECT_LT(first.size(), text.size());
}

TEST(Bpe, EndOfDocumentIsNoText) {
  const auto bpe = trained_on_random_text();
  const Ids ids = {'a', Tokenizer::end_of_document, 'b'};
  EXPECT_EQ(bpe->decode(ids), "ab");
  EXPECT_EQ(bpe->bytes_of(bpe->vocabulary()), "\xef\xbf\xbd");
}

std::string rejected(const std::vector<Merge>& merges) {
  try {
    make_bpe_tokenizer(merges);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(Bpe, RefusesImpossibleMerges) {
  EXPECT_EQ(rejected({{'a', 257}}),
            "merge 0 makes id 257 out of id 257, which no byte or earlier merge has");
  EXPECT_EQ(rejected({{256, 'a'}}),
            "merge 0 makes id 257 out of id 256, which no byte or earlier merge has");
  EXPECT_EQ(rejected({{'a', 'b'}, {'a', 'b'}}), "merge 1 repeats the pair 97, 98");
  // Doubling: the token of merge i has 2^(i + 1) bytes.
  std::vector<Merge> doubling = {{'a', 'a'}};
  for (std::uint32_t id = 257; id < 264; ++id) doubling.push_back({id, id});
  EXPECT_EQ(rejected(doubling), "(no error)");
  doubling.push_back({264, 264});
  EXPECT_EQ(rejected(doubling), "merge 8 makes a token of 512 bytes, at most 256 fit");
}

TEST(Bpe, ShowsBytes) { EXPECT_EQ(visible_text("a \\\n\xff"), "a \\\\\\x0a\\xff"); }

}  // namespace
}  // namespace penstock::data
