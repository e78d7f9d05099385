#include "data/tokenized_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "data/bpe.h"
#include "data/content_hash.h"
#include "data/helpers.h"
#include "data/tokenize_corpus.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

class TokenizedFolderTest : public ::testing::Test {
 protected:
  TokenizedFolderTest() {
    TokenizeRequest request;
    request.train = {folder_.write("a.txt", "some text").string(),
                     folder_.write("b.txt", "other text").string()};
    request.out = out_;
    tokenize(request);
  }

  std::string error() const {
    return error_of([&] { open_tokenized_folder(out_); });
  }

  support::TemporaryFolder folder_;
  fs::path out_ = folder_ / "out";
};

TEST_F(TokenizedFolderTest, Opens) {
  EXPECT_TRUE(is_tokenized_folder(out_));
  EXPECT_FALSE(is_tokenized_folder(folder_.path()));
  EXPECT_FALSE(is_tokenized_folder(folder_ / "none"));
  const TokenizedFolder opened = open_tokenized_folder(out_);
  EXPECT_EQ(opened.train.size(), 1U);
  EXPECT_EQ(opened.val.size(), 1U);
  EXPECT_EQ(opened.tokenizer->name(), "bytes");
  EXPECT_TRUE(opened.summary);
}

TEST_F(TokenizedFolderTest, OrdersShardsByNumber) {
  for (const char* name : {"train-1000.tokens", "train-999.tokens", "train-101.tokens"}) {
    fs::copy_file(out_ / "train-000.tokens", out_ / name);
  }
  const TokenizedFolder opened = open_tokenized_folder(out_);
  ASSERT_EQ(opened.train.size(), 4U);
  EXPECT_EQ(opened.train[1].file().filename(), "train-101.tokens");
  EXPECT_EQ(opened.train[3].file().filename(), "train-1000.tokens");
}

TEST_F(TokenizedFolderTest, SaysWhatIsWrong) {
  const auto other = make_bpe_tokenizer(std::vector<Merge>{{'a', 'b'}});
  const std::string own_hash = hash_text(make_byte_tokenizer()->hash());
  other->save(out_ / "tokenizer.json");
  EXPECT_EQ(error(), "[data] '" + (out_ / "train-000.tokens").string() +
                         "' was made with another tokenizer (hash " + own_hash + ") than '" +
                         (out_ / "tokenizer.json").string() + "' (hash " +
                         hash_text(other->hash()) +
                         "); set data.tokenizer to the one it was made with");
  fs::remove(out_ / "tokenizer.json");
  EXPECT_EQ(error(),
            "[data] '" + (out_ / "tokenizer.json").string() + "' does not exist; check the path");
  make_byte_tokenizer()->save(out_ / "tokenizer.json");
  EXPECT_EQ(error(), "(no error)");
  fs::remove(out_ / "train-000.tokens");
  EXPECT_EQ(error(), "[data] folder '" + out_.string() + "' holds no train-*.tokens");
}

TEST_F(TokenizedFolderTest, RefusesIdsThatTheTokenizerLacks) {
  std::vector<Shard> shards;
  shards.emplace_back(folder_.write("x.bin", bytes_of_values(std::vector<std::uint16_t>{300})));
  EXPECT_EQ(error_of([&] { require_tokenizer(shards, *make_byte_tokenizer(), "t.json"); }),
            "[data] '" + (folder_ / "x.bin").string() +
                "' holds the id 300, the tokenizer 't.json' has 257 ids");
}

}  // namespace
}  // namespace penstock::data
