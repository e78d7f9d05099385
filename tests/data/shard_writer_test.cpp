#include "data/shard_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

using Ids = std::vector<std::uint32_t>;
using Tokens = std::vector<std::int64_t>;

TEST(ShardWriter, ClosesShardsBetweenDocuments) {
  const support::TemporaryFolder folder;
  ShardWriter writer({.folder = folder.path(),
                      .prefix = "train",
                      .vocabulary = 20,
                      .tokenizer_hash = 1,
                      .end_of_document = 19,
                      .shard_tokens = 5});
  writer.add_document(Ids{1, 2});           // 3 tokens with the end
  writer.add_document(Ids{3});              // fits: 5
  writer.add_document(Ids{});               // one more would be 6
  writer.add_document(Ids{4, 5, 6, 7, 8});  // longer than a shard
  writer.add_document(Ids{9});
  writer.finish();
  ASSERT_EQ(writer.files().size(), 4U);
  EXPECT_EQ(writer.files()[0], folder / "train-000.tokens");
  EXPECT_EQ(writer.files()[3], folder / "train-003.tokens");
  EXPECT_EQ(read_all(Shard(writer.files()[0])), (Tokens{1, 2, 19, 3, 19}));
  EXPECT_EQ(read_all(Shard(writer.files()[1])), (Tokens{19}));
  EXPECT_EQ(read_all(Shard(writer.files()[2])), (Tokens{4, 5, 6, 7, 8, 19}));
  EXPECT_EQ(read_all(Shard(writer.files()[3])), (Tokens{9, 19}));
  EXPECT_EQ(Shard(writer.files()[0]).document_starts()[1], 3U);
}

TEST(ShardWriter, WritesNothingForNoDocuments) {
  const support::TemporaryFolder folder;
  ShardWriter writer({.folder = folder.path(), .prefix = "val", .vocabulary = 257});
  writer.finish();
  EXPECT_TRUE(writer.files().empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ShardWriter, TakesFourBytesForLargeVocabularies) {
  for (const std::uint32_t vocabulary : {65536U, 65537U}) {
    const support::TemporaryFolder folder;
    ShardWriter writer({.folder = folder.path(),
                        .prefix = "a",
                        .vocabulary = vocabulary,
                        .tokenizer_hash = 0,
                        .end_of_document = 256,
                        .shard_tokens = 10});
    writer.add_document(Ids{vocabulary - 1, 2});
    writer.finish();
    const Shard shard(writer.files()[0]);
    EXPECT_EQ(shard.token_width(), vocabulary == 65536 ? 2 : 4);
    EXPECT_EQ(read_all(shard), (Tokens{vocabulary - 1, 2, 256}));
  }
}

}  // namespace
}  // namespace penstock::data
