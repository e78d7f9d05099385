#include "data/corpus_summary.h"

#include <gtest/gtest.h>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

TEST(CorpusSummary, ReadsWhatItWrote) {
  const support::TemporaryFolder folder;
  const CorpusSummary summary{.files = 1,
                              .skipped_files = 2,
                              .train_documents = 3,
                              .val_documents = 4,
                              .train_bytes = 5,
                              .val_bytes = 6,
                              .train_tokens = 7,
                              .val_tokens = 8,
                              .vocabulary = 9,
                              .tokenizer = "bpe",
                              .unigram_entropy = 0.1 + 0.2};
  EXPECT_EQ(load_summary(folder.write("s.json", to_json(summary))), summary);
  EXPECT_EQ(summary.documents(), 7U);
  EXPECT_EQ(summary.bytes(), 11U);
  EXPECT_EQ(summary.tokens(), 15U);
}

TEST(CorpusSummary, SaysWhatIsWrong) {
  const support::TemporaryFolder folder;
  for (const char* text : {"", "{}", "[]", R"({"files": "many"})"}) {
    const std::string file = folder.write("s.json", text).string();
    const std::string line = error_of([&] { load_summary(file); });
    EXPECT_TRUE(line.starts_with("[data] '" + file + "' is not a corpus summary: ")) << line;
  }
}

}  // namespace
}  // namespace penstock::data
