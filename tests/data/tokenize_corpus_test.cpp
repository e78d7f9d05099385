#include "data/tokenize_corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "data/bpe_trainer.h"
#include "data/documents.h"
#include "data/helpers.h"
#include "data/tokenized_folder.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

class TokenizeTest : public ::testing::Test {
 protected:
  TokenizeTest() {
    for (int i = 0; i < 20; ++i) {
      folder_.write(fmt::format("text/{:02}.txt", i), fmt::format("text number {}, text again", i));
    }
  }

  TokenizeRequest request() const {
    TokenizeRequest request;
    request.train = {(folder_ / "text").string()};
    request.val_fraction = 0.2;
    request.out = folder_ / "out";
    return request;
  }

  std::string error(const TokenizeRequest& request) const {
    return error_of([&] { tokenize(request); });
  }

  support::TemporaryFolder folder_;
};

/// The documents of some shards as text, cut at the header's starts.
Texts texts_of(const std::vector<Shard>& shards, const Tokenizer& tokenizer) {
  Texts texts;
  for (const Shard& shard : shards) {
    for (std::size_t i = 0; i < shard.document_starts().size(); ++i) {
      const bool last = i + 1 == shard.document_starts().size();
      const std::uint64_t start = shard.document_starts()[i];
      std::vector<std::int64_t> ids((last ? shard.size() : shard.document_starts()[i + 1]) - start);
      shard.read(start, ids);
      EXPECT_EQ(ids.back(), Tokenizer::end_of_document);
      EXPECT_EQ(std::count(ids.begin(), ids.end(), Tokenizer::end_of_document), 1);
      const std::vector<std::uint32_t> narrow(ids.begin(), ids.end());
      texts.push_back(tokenizer.decode(narrow));
    }
  }
  return texts;
}

TEST_F(TokenizeTest, KeepsEveryDocumentWholeAndInOrder) {
  for (const char* kind : {"bytes", "bpe"}) {
    TokenizeRequest wanted = request();
    wanted.tokenizer = kind;
    wanted.vocabulary = 270;
    wanted.replace = true;
    const CorpusSummary summary = tokenize(wanted);
    const TokenizedFolder made = open_tokenized_folder(wanted.out);
    const Texts train = texts_of(made.train, *made.tokenizer);
    const Texts val = texts_of(made.val, *made.tokenizer);
    EXPECT_EQ(train.size(), 16U);
    EXPECT_EQ(val.size(), 4U);
    Texts expected_train;
    Texts expected_val;
    for (int i = 0; i < 20; ++i) {
      const std::string text = fmt::format("text number {}, text again", i);
      const bool held = std::find(val.begin(), val.end(), text) != val.end();
      (held ? expected_val : expected_train).push_back(text);
    }
    EXPECT_EQ(train, expected_train);
    EXPECT_EQ(val, expected_val);
    EXPECT_EQ(summary.files, 20U);
    EXPECT_EQ(summary.train_documents, 16U);
    EXPECT_EQ(summary.val_documents, 4U);
    EXPECT_EQ(summary.bytes(), 10U * 25 + 10U * 26);
    EXPECT_EQ(summary.vocabulary, made.tokenizer->vocabulary());
    EXPECT_EQ(summary.tokenizer, kind);
    EXPECT_EQ(made.summary, summary);
    if (made.tokenizer->name() == "bytes") {
      EXPECT_EQ(summary.tokens(), summary.bytes() + 20);
    }
  }
}

TEST_F(TokenizeTest, EntropyIsOfTheTrainingTokens) {
  folder_.write("few/a", "aab");
  folder_.write("val/b", "zzzzzzz");
  TokenizeRequest wanted = request();
  wanted.train = {(folder_ / "few").string()};
  wanted.val = {(folder_ / "val").string()};
  // a a b and the end: p = 1/2, 1/4, 1/4.
  EXPECT_NEAR(tokenize(wanted).unigram_entropy, 1.5 * std::log(2.0), 1e-14);
}

TEST_F(TokenizeTest, LearnsFromTrainingDocumentsOnly) {
  TokenizeRequest wanted = request();
  folder_.write("val/v.txt", "qqqqqqqqqq qqqqqqqqqq");
  wanted.val = {(folder_ / "val").string()};
  wanted.tokenizer = "bpe";
  wanted.vocabulary = 300;
  tokenize(wanted);
  const auto made = load_tokenizer(wanted.out / "tokenizer.json");
  for (std::uint32_t id = 257; id < made->vocabulary(); ++id) {
    EXPECT_EQ(made->bytes_of(id).find('q'), std::string_view::npos);
  }
  BpeTrainer trainer;
  for (int i = 0; i < 20; ++i) trainer.add(fmt::format("text number {}, text again", i));
  EXPECT_EQ(made->to_json(), make_bpe_tokenizer(trainer.train(300))->to_json());
}

// A sample of a twentieth of 400 blocks has 20 on average, with standard deviation 4.4.
TEST_F(TokenizeTest, LearnsFromASample) {
  std::string text;
  for (int block = 0; block < 400; ++block) {
    // Each block has a pair of letters of its own, twice or more.
    const std::string pair = {static_cast<char>('A' + block % 20),
                              static_cast<char>('a' + block / 20)};
    while (text.size() < 65536 * static_cast<std::size_t>(block + 1)) text += pair;
  }
  TokenizeRequest wanted = request();
  wanted.train = {folder_.write("one.txt", text).string()};
  wanted.val_fraction = 0;
  wanted.tokenizer = "bpe";
  wanted.vocabulary = 20000;
  wanted.bpe_sample_bytes = text.size() / 20;
  tokenize(wanted);
  const auto made = load_tokenizer(wanted.out / "tokenizer.json");
  std::set<std::string_view> pairs;
  for (std::uint32_t id = 257; id < made->vocabulary(); ++id) {
    const std::string_view token = made->bytes_of(id);
    if (token.size() == 2 && token[0] <= 'Z' && token[1] >= 'a') pairs.insert(token);
  }
  EXPECT_GE(pairs.size(), 20U - 18);
  EXPECT_LE(pairs.size(), 20U + 18);
}

TEST_F(TokenizeTest, DuplicatesAreOnOneSide) {
  for (int i = 0; i < 20; ++i) folder_.write(fmt::format("text/copy{}", i), "the same text");
  for (const double fraction : {0.05, 0.5, 0.95}) {
    TokenizeRequest wanted = request();
    wanted.val_fraction = fraction;
    wanted.replace = true;
    tokenize(wanted);
    const TokenizedFolder made = open_tokenized_folder(wanted.out);
    const Texts train = texts_of(made.train, *made.tokenizer);
    const auto copies = std::count(train.begin(), train.end(), "the same text");
    EXPECT_TRUE(copies == 0 || copies == 20) << copies;
  }
}

TEST_F(TokenizeTest, ResultDoesNotDependOnTheFolder) {
  TokenizeRequest first = request();
  first.tokenizer = "bpe";
  first.vocabulary = 280;
  TokenizeRequest second = first;
  fs::copy(folder_ / "text", folder_ / "other", fs::copy_options::recursive);
  second.train = {(folder_ / "other/**/*.txt").string()};
  second.out = folder_ / "out2";
  tokenize(first);
  tokenize(second);
  for (const char* name :
       {"train-000.tokens", "val-000.tokens", "tokenizer.json", "summary.json"}) {
    EXPECT_EQ(folder_.read(fs::path("out") / name), folder_.read(fs::path("out2") / name)) << name;
  }
}

TEST_F(TokenizeTest, SeparatorMakesDocuments) {
  TokenizeRequest wanted = request();
  wanted.train = {folder_.write("s.txt", "one\n<|e|>\ntwo\n<|e|>\nthree\n").string()};
  wanted.separator = "<|e|>";
  const CorpusSummary summary = tokenize(wanted);
  EXPECT_EQ(summary.train_documents, 2U);
  EXPECT_EQ(summary.val_documents, 1U);
  EXPECT_EQ(summary.files, 1U);
}

TEST_F(TokenizeTest, SkipsWhatIsNoTextUnlessNamed) {
  const std::string binary(folder_.write("text/b.pyc", std::string("a\0b", 3)).string());
  folder_.write("text/c.bin", "ab");
  folder_.write("text/empty.txt", "");
  TokenizeRequest wanted = request();
  CorpusSummary summary = tokenize(wanted);
  EXPECT_EQ(summary.files, 21U);
  EXPECT_EQ(summary.skipped_files, 2U);
  EXPECT_EQ(summary.documents(), 20U);
  wanted.train.insert(wanted.train.begin(), binary);
  wanted.replace = true;
  summary = tokenize(wanted);
  EXPECT_EQ(summary.documents(), 21U);
  EXPECT_EQ(summary.skipped_files, 1U);
}

TEST_F(TokenizeTest, WritesSeveralShards) {
  TokenizeRequest wanted = request();
  wanted.shard_tokens = 60;
  tokenize(wanted);
  const TokenizedFolder made = open_tokenized_folder(wanted.out);
  EXPECT_EQ(made.train.size(), 8U);
  EXPECT_EQ(texts_of(made.train, *made.tokenizer).size(), 16U);
}

TEST_F(TokenizeTest, ReplacesOnlyWhenTold) {
  TokenizeRequest wanted = request();
  wanted.shard_tokens = 60;
  tokenize(wanted);
  EXPECT_EQ(error(wanted), "[data] folder '" + wanted.out.string() +
                               "' is not empty; give another --out, or --force to replace the "
                               "shards in it");
  folder_.write("out/notes.txt", "mine");
  wanted.replace = true;
  wanted.shard_tokens = 1000;
  wanted.val_fraction = 0;
  tokenize(wanted);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(wanted.out)) {
    names.insert(entry.path().filename().string());
  }
  EXPECT_EQ(names, (std::set<std::string>{"notes.txt", "summary.json", "tokenizer.json",
                                          "train-000.tokens"}));
}

TEST_F(TokenizeTest, DoesNotReadItsOwnOutput) {
  TokenizeRequest wanted = request();
  wanted.out = folder_ / "text/out";
  wanted.replace = true;
  const CorpusSummary first = tokenize(wanted);
  EXPECT_EQ(tokenize(wanted), first);
}

TEST_F(TokenizeTest, LeavesNothingBehindAfterAnError) {
  TokenizeRequest wanted = request();
  wanted.progress = [](std::string_view stage, double) {
    if (stage == "encoding") throw std::runtime_error("stop");
  };
  EXPECT_THROW(tokenize(wanted), std::runtime_error);
  EXPECT_TRUE(fs::is_empty(wanted.out));
}

TEST_F(TokenizeTest, RemovesWhatAnInterruptedCallLeft) {
  folder_.write("out/.partial-1/train-000.tokens", "half");
  const TokenizeRequest wanted = request();
  tokenize(wanted);
  EXPECT_FALSE(fs::exists(wanted.out / ".partial-1"));
  EXPECT_NO_THROW(open_tokenized_folder(wanted.out));
}

TEST_F(TokenizeTest, ReportsStagesAndFractions) {
  TokenizeRequest wanted = request();
  wanted.tokenizer = "bpe";
  wanted.vocabulary = 400;
  std::vector<std::string> stages;
  double last = 0;
  wanted.progress = [&](std::string_view stage, double fraction) {
    if (stages.empty() || stages.back() != stage) {
      stages.emplace_back(stage);
      last = 0;
    }
    EXPECT_GE(fraction, last);
    EXPECT_LE(fraction, 1);
    last = fraction;
  };
  tokenize(wanted);
  stages.erase(std::remove(stages.begin(), stages.end(), "learning merges"), stages.end());
  EXPECT_EQ(stages, (Texts{"reading", "counting words", "encoding"}));
  EXPECT_EQ(last, 1);
}

TEST_F(TokenizeTest, SingleDocument) {
  folder_.write("one/a", "text");
  folder_.write("one/b", "text");
  TokenizeRequest wanted = request();
  wanted.train = {(folder_ / "one").string()};
  EXPECT_EQ(error(wanted),
            "[data] no document can be held out for validation: the text has 2 document(s), none "
            "different from the others; set a separator, or a validation fraction of 0 (training "
            "then holds out the end of the tokens)");
  wanted.single_document = SingleDocument::train_on_it;
  const CorpusSummary summary = tokenize(wanted);
  EXPECT_EQ(summary.train_documents, 2U);
  EXPECT_EQ(summary.val_documents, 0U);
}

TEST_F(TokenizeTest, SaysWhatIsWrong) {
  const auto with = [&](auto change) {
    TokenizeRequest wanted = request();
    change(wanted);
    return error(wanted);
  };
  EXPECT_EQ(with([](auto& r) { r.train.clear(); }),
            "[data] no text is given; name files or folders");
  EXPECT_EQ(with([](auto& r) { r.out.clear(); }), "[data] no folder for the shards; set --out");
  EXPECT_EQ(with([](auto& r) { r.out = "/dev/null"; }), "[data] '/dev/null' is not a folder");
  EXPECT_EQ(with([](auto& r) { r.val_fraction = 1; }),
            "[data] val_fraction = 1, it must be at least 0 and below 1");
  EXPECT_EQ(with([](auto& r) { r.val_fraction = std::nan(""); }),
            "[data] val_fraction = nan, it must be at least 0 and below 1");
  EXPECT_EQ(with([](auto& r) { r.shard_tokens = 0; }),
            "[data] shard_tokens = 0, it must be at least 1");
  EXPECT_EQ(with([](auto& r) { r.tokenizer = "bpe"; }),
            "[data] a bpe vocabulary of 0 ids is not possible: it has 256 bytes, the end of a "
            "document and merges; set from 257 to 16777216");
  EXPECT_EQ(with([](auto& r) { r.tokenizer = "/nowhere/t.json"; }),
            "[data] '/nowhere/t.json' does not exist; check the path");
  EXPECT_EQ(with([](auto& r) { r.train = {"/nowhere"}; }),
            "[data] '/nowhere' does not exist; check the path");
  const std::string shard = folder_.write("x.bin", "abcd").string();
  EXPECT_EQ(with([&](auto& r) { r.train = {shard}; }),
            "[data] '" + shard + "' is a token shard by its name, where text is needed");
  folder_.write("void/a.txt", "");
  folder_.write("void/b", std::string("\0", 1));
  const std::string nothing = (folder_ / "void").string();
  EXPECT_EQ(with([&](auto& r) { r.train = {nothing}; }),
            "[data] there is no training text: 1 file(s) read have none, 1 skipped as binary; "
            "check the inputs");
  EXPECT_EQ(with([&](auto& r) { r.val = {nothing}; }).substr(0, 39),
            "[data] there is no validation text: 21 ");
}

}  // namespace
}  // namespace penstock::data
