#include "data/shard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

using Tokens = std::vector<std::int64_t>;

class ShardTest : public ::testing::Test {
 protected:
  std::string error_with(const std::string& name, const std::string& bytes) const {
    const std::string file = folder_.write(name, bytes).string();
    std::string line = error_of([&] { Shard shard(file); });
    const std::size_t at = line.find(file);
    return at == line.npos ? line : line.replace(at, file.size(), name);
  }

  /// A good .tokens file: the documents 5 6 E and 7 E with E = 9.
  std::string good() const {
    ShardWriter writer({.folder = folder_.path(),
                        .prefix = "good",
                        .vocabulary = 10,
                        .tokenizer_hash = 77,
                        .end_of_document = 9,
                        .shard_tokens = 100});
    writer.add_document(std::vector<std::uint32_t>{5, 6});
    writer.add_document(std::vector<std::uint32_t>{7});
    writer.finish();
    return folder_.read("good-000.tokens");
  }

  template <class Field>
  std::string with(std::size_t offset, Field value) const {
    std::string bytes = good();
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
    return bytes;
  }

  support::TemporaryFolder folder_;
};

std::string llm_c(std::int32_t magic, std::int32_t version, std::int32_t count,
                  const std::string& tokens) {
  std::vector<std::int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return bytes_of_values(header) + tokens;
}

TEST_F(ShardTest, ReadsItsOwnFormat) {
  const Shard shard(folder_.write("a.tokens", good()));
  EXPECT_EQ(shard.format(), ShardFormat::penstock);
  EXPECT_EQ(read_all(shard), (Tokens{5, 6, 9, 7, 9}));
  EXPECT_EQ(shard.largest_id(), 9U);
  EXPECT_EQ(shard.token_width(), 2);
  ASSERT_TRUE(shard.header());
  EXPECT_EQ(shard.header()->vocabulary, 10U);
  EXPECT_EQ(shard.header()->tokenizer_hash, 77U);
  EXPECT_EQ(
      std::vector<std::uint64_t>(shard.document_starts().begin(), shard.document_starts().end()),
      (std::vector<std::uint64_t>{0, 3}));
}

TEST_F(ShardTest, ReadsLlmC) {
  const std::vector<std::uint16_t> narrow = {50256, 1, 65535};
  const Shard first(folder_.write("a.bin", llm_c(20240520, 1, 3, bytes_of_values(narrow))));
  EXPECT_EQ(first.format(), ShardFormat::llm_c);
  EXPECT_EQ(read_all(first), (Tokens{50256, 1, 65535}));
  EXPECT_EQ(first.largest_id(), 65535U);
  EXPECT_FALSE(first.header());
  const std::vector<std::uint32_t> wide = {128000, 7};
  const Shard second(folder_.write("b.bin", llm_c(20240801, 7, 2, bytes_of_values(wide))));
  EXPECT_EQ(read_all(second), (Tokens{128000, 7}));
  EXPECT_EQ(second.token_width(), 4);
}

TEST_F(ShardTest, ReadsNanoGpt) {
  const Shard shard(
      folder_.write("a.bin", bytes_of_values(std::vector<std::uint16_t>{3, 2, 40000})));
  EXPECT_EQ(shard.format(), ShardFormat::nano_gpt);
  EXPECT_EQ(read_all(shard), (Tokens{3, 2, 40000}));
}

TEST_F(ShardTest, ReadsParts) {
  const Shard shard(folder_.write("a.tokens", good()));
  Tokens part(2);
  shard.read(3, part);
  EXPECT_EQ(part, (Tokens{7, 9}));
  EXPECT_THROW(shard.read(4, part), std::out_of_range);
  EXPECT_THROW(shard.read(~0ULL, part), std::out_of_range);
}

TEST_F(ShardTest, SaysWhatIsWrongWithAnOwnShard) {
  EXPECT_EQ(error_of([] { Shard shard("/nowhere/a.tokens"); }),
            "[data] '/nowhere/a.tokens' does not exist; check the path");
  EXPECT_EQ(error_with("a.tokens", ""), "[data] 'a.tokens' is empty");
  EXPECT_EQ(error_with("a.txt", "text"),
            "[data] 'a.txt' is no token shard: its name ends in neither .tokens nor .bin");
  EXPECT_EQ(error_with("a.tokens", "short"),
            "[data] 'a.tokens' is cut off: it has 5 bytes, its header alone has 64");
  EXPECT_EQ(error_with("a.tokens", std::string(100, 'x')),
            "[data] 'a.tokens' is no token shard: it does not start with \"PSTTOKEN\"");
  EXPECT_EQ(error_with("a.tokens", with(8, std::uint32_t{2})),
            "[data] 'a.tokens' has format version 2, this program reads 1");
  // 64 bytes of header, 5 tokens of 2 bytes and 6 zeros, 2 starts.
  EXPECT_EQ(error_with("a.tokens", good().substr(0, 90)),
            "[data] 'a.tokens' is cut off: it has 90 bytes, its header asks for 96");
  EXPECT_EQ(error_with("a.tokens", good() + "x"),
            "[data] 'a.tokens' has more than its tokens: it has 97 bytes, its header asks for 96");
  EXPECT_EQ(error_with("a.tokens", with(16, ~std::uint64_t{0})),
            "[data] 'a.tokens' is cut off: 96 bytes cannot hold 18446744073709551615 tokens in 2 "
            "documents");
  EXPECT_EQ(error_with("a.tokens", with(12, std::uint32_t{4})),
            "[data] 'a.tokens' is damaged: vocabulary 10 with 4 bytes per token");
  EXPECT_EQ(error_with("a.tokens", with(24, std::uint64_t{0})),
            "[data] 'a.tokens' is damaged: vocabulary 0 with 2 bytes per token");
  EXPECT_EQ(error_with("a.tokens", with(66, std::uint16_t{10})),
            "[data] 'a.tokens' is damaged: it holds the id 10, its vocabulary has 10 ids");
  EXPECT_EQ(error_with("a.tokens", with(88, std::uint64_t{5})),
            "[data] 'a.tokens' is damaged: its document starts are not ascending from 0");
  EXPECT_EQ(error_with("a.tokens", with(88, std::uint64_t{0})),
            "[data] 'a.tokens' is damaged: its document starts are not ascending from 0");
  EXPECT_EQ(error_with("a.tokens", with(80, std::uint64_t{1})),
            "[data] 'a.tokens' is damaged: its document starts are not ascending from 0");
  ShardHeader empty;
  empty.vocabulary = 10;
  EXPECT_EQ(error_with("a.tokens", bytes_of_values(std::vector<ShardHeader>{empty})),
            "[data] 'a.tokens' holds no tokens");
}

TEST_F(ShardTest, SaysWhatIsWrongWithAForeignShard) {
  EXPECT_EQ(error_with("a.bin", ""), "[data] 'a.bin' is empty");
  EXPECT_EQ(error_with("a.bin", "123"),
            "[data] 'a.bin' has 3 bytes, an odd number, and no llm.c header: as a nanoGPT shard it "
            "would have 2 bytes per token");
  EXPECT_EQ(error_with("a.bin", llm_c(20240520, 2, 1, "xy")),
            "[data] 'a.bin' is an llm.c shard (magic 20240520) of version 2, this program reads 1");
  EXPECT_EQ(error_with("a.bin", llm_c(20240520, 1, 1, "xy").substr(0, 100)),
            "[data] 'a.bin' is cut off: it has 100 bytes, its header alone has 1024");
  EXPECT_EQ(error_with("a.bin", llm_c(20240520, 1, 2, "xy")),
            "[data] 'a.bin' is cut off: it has 1026 bytes, its header asks for 1028");
  EXPECT_EQ(error_with("a.bin", llm_c(20240801, 7, 1, "xyzxyz")),
            "[data] 'a.bin' has more than its tokens: it has 1030 bytes, its header asks for 1028");
  EXPECT_EQ(error_with("a.bin", llm_c(20240801, 7, -5, "")),
            "[data] 'a.bin' holds no tokens: its header gives -5");
  const std::vector<std::uint32_t> wild = {1U << 24};
  EXPECT_EQ(error_with("a.bin", llm_c(20240801, 7, 1, bytes_of_values(wild))),
            "[data] 'a.bin' holds the id 16777216, which is no token: ids go up to 16777215");
}

TEST_F(ShardTest, IsRefusedWhereTheModelHasTooFewIds) {
  const std::string own = folder_.write("a.tokens", with(66, std::uint16_t{3})).string();
  const Shard shard(own);
  EXPECT_EQ(error_of([&] { require_vocabulary(shard, 10); }), "(no error)");
  EXPECT_EQ(
      error_of([&] { require_vocabulary(shard, 9); }),
      "[data] '" + own +
          "' holds the id 9, the model's vocabulary has 9 ids; set model.vocab to 10 or more");
  const std::string foreign =
      folder_.write("a.bin", bytes_of_values(std::vector<std::uint16_t>{5, 8})).string();
  EXPECT_EQ(error_of([&] { require_vocabulary(Shard(foreign), 8); }),
            "[data] '" + foreign +
                "' holds the id 8, the model's vocabulary has 8 ids; set model.vocab to 9 or more");
  EXPECT_EQ(error_of([&] { require_vocabulary(Shard(foreign), 9); }), "(no error)");
  const std::string claims = write_counting_shard(folder_.path(), "claim", 0, 4).string();
  EXPECT_EQ(error_of([&] { require_vocabulary(Shard(claims), 100); }),
            "[data] '" + claims +
                "' has a vocabulary of 60000 ids, the model's has 100; set model.vocab to 60000 or "
                "more");
}

TEST_F(ShardTest, NamesOfShards) {
  EXPECT_TRUE(is_shard_name("x/a.tokens"));
  EXPECT_TRUE(is_shard_name("train_*.bin"));
  EXPECT_FALSE(is_shard_name("a.txt"));
}

}  // namespace
}  // namespace penstock::data
