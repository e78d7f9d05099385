#include "data/corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data/bpe.h"
#include "data/helpers.h"
#include "data/loader.h"
#include "data/tokenize_corpus.h"
#include "data/unigram.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() {
    for (int i = 0; i < 20; ++i) {
      std::string text = random_text(static_cast<unsigned>(i), 300);
      std::replace(text.begin(), text.end(), '\0', 'x');  // Else the file would count as binary.
      folder_.write(fmt::format("text/{:02}.txt", i), text);
    }
    request_.train = {at("text")};
    request_.val_fraction = 0.1;
    request_.cache_folder = folder_ / "cache";
    request_.seq = 16;
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  std::string error() const {
    return error_of([&] { prepare(request_); });
  }

  /// What `penstock tokenize` leaves.
  CorpusSummary tokenize_to(const std::string& name, const std::string& tokenizer = "bytes",
                            double val_fraction = 0.1) const {
    TokenizeRequest request;
    request.train = {at("text/*.txt")};
    request.tokenizer = tokenizer;
    request.vocabulary = 300;
    request.val_fraction = val_fraction;
    request.out = folder_ / name;
    return tokenize(request);
  }

  std::string write_bin(const std::string& name, std::uint16_t largest) const {
    std::vector<std::uint16_t> ids(200, 1);
    ids[77] = largest;
    return folder_.write(name, bytes_of_values(ids)).string();
  }

  support::TemporaryFolder folder_;
  PrepareRequest request_;
};

TEST_F(PrepareTest, TokenizesTextOnce) {
  request_.tokenizer = "bpe";
  request_.vocabulary = 300;
  const Prepared first = prepare(request_);
  EXPECT_FALSE(first.from_cache);
  EXPECT_EQ(first.documents, 20U);
  EXPECT_EQ(first.bytes, 6000U);
  EXPECT_EQ(first.vocabulary, 300);
  EXPECT_EQ(first.tokenizer->name(), "bpe");
  EXPECT_EQ(first.val_source, ValSource::documents);
  EXPECT_EQ(first.tokens, first.train.size + first.val.size);
  const Prepared again = prepare(request_);
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(again.tokens, first.tokens);
  EXPECT_EQ(again.unigram_entropy, first.unigram_entropy);
  // Sums of the same terms.
  EXPECT_NEAR(first.unigram_entropy, unigram_entropy(first.train), 1e-12);
  EXPECT_EQ(read_all(*again.train.stream), read_all(*first.train.stream));
}

TEST_F(PrepareTest, TakesGivenValidationText) {
  request_.train = {at("text/0*.txt")};
  request_.val = {at("text/1*.txt")};
  const Prepared prepared = prepare(request_);
  EXPECT_EQ(prepared.val_source, ValSource::given);
  EXPECT_EQ(prepared.train.size, 10U * 301);
  EXPECT_EQ(prepared.val.size, 10U * 301);
}

TEST_F(PrepareTest, SplitsASingleDocumentByWindows) {
  request_.train = {at("text/00.txt")};
  const Prepared prepared = prepare(request_);
  EXPECT_EQ(prepared.val_source, ValSource::windows);
  EXPECT_EQ(window_count(prepared.train.size, 16), 16);  // 300 / 16 = 18, ceil(1.8) held out
  EXPECT_EQ(window_count(prepared.val.size, 16), 2);
  EXPECT_EQ(prepared.tokens, 301U);
  EXPECT_NEAR(prepared.unigram_entropy, unigram_entropy(prepared.train), 1e-12);
}

TEST_F(PrepareTest, MayHaveNoValidation) {
  request_.val_fraction = 0;
  const Prepared prepared = prepare(request_);
  EXPECT_EQ(prepared.val_source, ValSource::none);
  EXPECT_TRUE(prepared.val.empty());
  EXPECT_EQ(prepared.train.size, 20U * 301);
}

TEST_F(PrepareTest, TakesATokenizersFile) {
  make_bpe_tokenizer(std::vector<Merge>{{' ', ' '}})->save(folder_ / "t.json");
  request_.tokenizer = at("t.json");
  EXPECT_EQ(prepare(request_).vocabulary, 258);
}

TEST_F(PrepareTest, OpensATokenizedFolder) {
  const CorpusSummary summary = tokenize_to("shards", "bpe");
  request_.train = {at("shards")};
  const Prepared prepared = prepare(request_);
  EXPECT_EQ(prepared.tokenizer->name(), "bpe");
  EXPECT_EQ(prepared.vocabulary, 300);
  EXPECT_EQ(prepared.documents, 20U);
  EXPECT_EQ(prepared.bytes, 6000U);
  EXPECT_EQ(prepared.train.size, summary.train_tokens);
  EXPECT_EQ(prepared.val.size, summary.val_tokens);
  EXPECT_EQ(prepared.val_source, ValSource::given);
  EXPECT_EQ(prepared.unigram_entropy, summary.unigram_entropy);
  EXPECT_FALSE(prepared.from_cache);
  EXPECT_FALSE(fs::exists(request_.cache_folder));
}

TEST_F(PrepareTest, OpensSingleShards) {
  tokenize_to("shards");
  request_.train = {at("shards/train-*.tokens")};
  const Prepared by_windows = prepare(request_);
  EXPECT_EQ(by_windows.val_source, ValSource::windows);
  EXPECT_EQ(by_windows.tokenizer->name(), "bytes");
  request_.val = {at("shards/val-000.tokens")};
  const Prepared given = prepare(request_);
  EXPECT_EQ(given.val_source, ValSource::given);
  EXPECT_EQ(given.tokens, 20U * 301);
  request_.val = {at("shards")};
  EXPECT_EQ(prepare(request_).tokens, 20U * 301);
}

TEST_F(PrepareTest, OpensForeignShards) {
  write_bin("a_0.bin", 700);
  write_bin("a_1.bin", 999);
  request_.train = {at("a_*.bin")};
  const Prepared prepared = prepare(request_);
  EXPECT_EQ(prepared.tokenizer, nullptr);
  EXPECT_EQ(prepared.vocabulary, 1000);
  EXPECT_EQ(prepared.tokens, 400U);
  EXPECT_EQ(prepared.documents, 0U);
  EXPECT_EQ(prepared.bytes, 0U);
}

TEST_F(PrepareTest, RefusesAVocabularyLargerThanTheModels) {
  request_.model_vocabulary = 256;
  EXPECT_EQ(error(),
            "[data] tokenizer 'bytes' has 257 ids, the model's vocabulary 256; set model.vocab to "
            "257 or more");
  EXPECT_FALSE(fs::exists(request_.cache_folder));
  request_.train = {write_bin("a.bin", 999)};
  request_.model_vocabulary = 999;
  EXPECT_EQ(error(), "[data] '" + at("a.bin") +
                         "' holds the id 999, the model's vocabulary has 999 ids; set model.vocab "
                         "to 1000 or more");
  request_.val = {write_bin("b.bin", 2000)};
  request_.model_vocabulary = 1000;
  EXPECT_EQ(error(), "[data] '" + at("b.bin") +
                         "' holds the id 2000, the model's vocabulary has 1000 ids; set "
                         "model.vocab to 2001 or more");
}

TEST_F(PrepareTest, RefusesOtherTokenizers) {
  tokenize_to("shards");
  tokenize_to("others", "bpe");
  request_.train = {at("shards")};
  request_.tokenizer = at("others/tokenizer.json");
  EXPECT_TRUE(error().starts_with("[data] '" + at("shards/train-000.tokens") +
                                  "' was made with another tokenizer (hash "))
      << error();
  request_.tokenizer = "bytes";
  request_.val = {at("others")};
  EXPECT_EQ(error(), "[data] '" + at("shards/train-000.tokens") + "' and '" +
                         at("others/val-000.tokens") +
                         "' were made with different tokenizers; tokenize one of them again with "
                         "--tokenizer set to the other's tokenizer.json");
}

TEST_F(PrepareTest, RefusesTextAmongShards) {
  request_.val = {write_bin("a.bin", 5)};
  EXPECT_EQ(error(), "[data] '" + at("text") + "' is text and '" + at("a.bin") +
                         "' token shards; give either text or shards in data.train and data.val");
  std::swap(request_.train, request_.val);
  EXPECT_EQ(error(), "[data] '" + at("text") + "' is text and '" + at("a.bin") +
                         "' token shards; give either text or shards in data.train and data.val");
}

TEST_F(PrepareTest, SaysWhenThereIsTooLittle) {
  request_.seq = 1000;
  EXPECT_EQ(error(),
            "[data] the validation data has 602 tokens, one sequence of 1000 needs 1001; give more "
            "in data.val, or set model.seq lower");
  request_.val_fraction = 0;
  request_.seq = 6020;
  EXPECT_EQ(error(),
            "[data] the training data has 6020 tokens, one sequence of 6020 needs 6021; give more "
            "in data.train, or set model.seq lower");
  request_.seq = 0;
  EXPECT_EQ(error(), "[data] seq = 0, it must be at least 1");
}

TEST_F(PrepareTest, SaysWhatIsMissing) {
  request_.train = {at("none")};
  EXPECT_EQ(error(), "[data] '" + at("none") + "' does not exist; check the path");
  request_.train = {at("none.bin")};
  EXPECT_EQ(error(), "[data] '" + at("none.bin") + "' does not exist; check the path");
  request_.train = {at("*.tokens")};
  EXPECT_EQ(error(), "[data] '" + at("*.tokens") + "' matches no files");
  request_.train.clear();
  EXPECT_EQ(error(), "[data] no training data is given; set data.train");
  request_.train = {at("text")};
  request_.val_fraction = -1;
  EXPECT_EQ(error(), "[data] val_fraction = -1, it must be at least 0 and below 1");
}

}  // namespace
}  // namespace penstock::data
