#include "checkpoint/folder.h"

#include <gtest/gtest.h>

#include <system_error>
#include <vector>

#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;

std::vector<std::int64_t> cuts_in(const fs::path& folder) {
  std::vector<std::int64_t> cuts;
  for (const Entry& entry : list_checkpoints(folder)) cuts.push_back(entry.cut);
  return cuts;
}

TEST(CheckpointFolder, NamesSortLikeNumbers) {
  EXPECT_EQ(checkpoint_name(0), "update-00000000");
  EXPECT_EQ(checkpoint_name(100), "update-00000100");
  EXPECT_EQ(checkpoint_name(1234567890123), "update-1234567890123");
}

TEST(CheckpointFolder, ListsCheckpointsByNumber) {
  const TemporaryFolder folder;
  for (const char* name : {"update-00000200", "update-00000030", "update-100000000"}) {
    folder.write(fs::path(name) / "manifest.json", "{}");
  }
  // None of these is a complete checkpoint.
  for (const char* name : {"update-00000400.partial", "update-400", "update-", "update-0000040x",
                           "update--0000400", "other", "update-00000500 "}) {
    folder.write(fs::path(name) / "manifest.json", "{}");
  }
  folder.write("update-00000600", "a file");
  EXPECT_EQ(cuts_in(folder.path()), (std::vector<std::int64_t>{30, 200, 100000000}));
  EXPECT_EQ(list_checkpoints(folder.path()).front().path, folder / "update-00000030");
  EXPECT_TRUE(list_checkpoints(folder / "none").empty());
}

TEST(CheckpointFolder, TheOrderIsNotThatOfTheDisk) {
  const TemporaryFolder folder;
  std::vector<std::int64_t> expected;
  for (std::int64_t cut = 1; cut <= 40; ++cut) {
    expected.push_back(cut);
    fs::create_directory(folder / checkpoint_name(cut * 17 % 41));
  }
  EXPECT_EQ(cuts_in(folder.path()), expected);
}

TEST(CheckpointFolder, WhatIsPublishedWasPartial) {
  const TemporaryFolder folder;
  const fs::path path = folder / "update-00000007";
  EXPECT_EQ(partial_path(path), folder / "update-00000007.partial");
  folder.write("update-00000007.partial/x", "1");
  EXPECT_TRUE(cuts_in(folder.path()).empty());
  publish_checkpoint(path);
  EXPECT_EQ(folder.read("update-00000007/x"), "1");
  EXPECT_FALSE(fs::exists(partial_path(path)));
  EXPECT_EQ(cuts_in(folder.path()), std::vector<std::int64_t>{7});
  EXPECT_THROW(publish_checkpoint(folder / "update-00000008"), std::system_error);
}

TEST(CheckpointFolder, RemovedCheckpointsAreGoneWithWhatWasLeftOfThem) {
  const TemporaryFolder folder;
  folder.write("update-00000007/x", "1");
  folder.write("update-00000007.partial/y", "left by a killed process");
  remove_checkpoint(folder / "update-00000007");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(CheckpointFolder, OnlyPartialOnesAreSwept) {
  const TemporaryFolder folder;
  folder.write("update-00000007/x", "1");
  folder.write("update-00000008.partial/x", "1");
  folder.write("update-00000009.partial/deep/x", "1");
  folder.write("notes.partial", "mine");
  remove_partial_checkpoints(folder.path());
  EXPECT_EQ(cuts_in(folder.path()), std::vector<std::int64_t>{7});
  EXPECT_FALSE(fs::exists(folder / "update-00000008.partial"));
  EXPECT_FALSE(fs::exists(folder / "update-00000009.partial"));
  EXPECT_EQ(folder.read("notes.partial"), "mine");
  remove_partial_checkpoints(folder / "none");
}

TEST(CheckpointFolder, FlushesFilesAndFoldersAndNamesWhatIsMissing) {
  const TemporaryFolder folder;
  flush_to_disk(folder.write("x", "1"));
  flush_to_disk(folder.path());
  try {
    flush_to_disk(folder / "none");
    FAIL() << "no error";
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("none"), std::string::npos);
  }
}

}  // namespace
}  // namespace penstock::checkpoint
