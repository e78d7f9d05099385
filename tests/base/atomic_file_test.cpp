#include "base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "support/file_size_limit.h"
#include "support/temporary_folder.h"

namespace penstock {
namespace {

using support::FileSizeLimit;
using support::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(AtomicFile, WritesTheBytesInOrder) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a.bin");
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}, std::byte{10}};
  file.write("one ");
  file.write("");
  file.write(bytes);
  file.commit();
  EXPECT_EQ(folder.read("a.bin"), std::string("one \0\xff\n", 7));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a.bin"));
}

TEST(AtomicFile, CreatesMissingFolders) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "x/y/z.txt", "deep");
  EXPECT_EQ(folder.read("x/y/z.txt"), "deep");
}

TEST(AtomicFile, TheOldFileIsThereUntilTheCommit) {
  const TemporaryFolder folder;
  folder.write("a.txt", "old and longer");
  AtomicFile file(folder / "a.txt");
  file.write("new");
  EXPECT_EQ(folder.read("a.txt"), "old and longer");
  file.commit();
  EXPECT_EQ(folder.read("a.txt"), "new");
}

TEST(AtomicFile, WithoutCommitNothingChangesAndNothingStays) {
  const TemporaryFolder folder;
  folder.write("a.txt", "old");
  {
    AtomicFile file(folder / "a.txt");
    file.write("new");
  }
  EXPECT_EQ(folder.read("a.txt"), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a.txt"));
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileAndNamesTheNewOne) {
  const TemporaryFolder folder;
  folder.write("a.txt", "old");
  std::string message;
  {
    const FileSizeLimit limit(1000);
    try {
      write_file_atomically(folder / "a.txt", std::string(5000, 'x'));
    } catch (const std::system_error& error) {
      message = error.what();
    }
  }
  EXPECT_THAT(message, HasSubstr("cannot write '" + (folder / "a.txt").string()));
  EXPECT_THAT(message, HasSubstr("File too large"));
  EXPECT_EQ(folder.read("a.txt"), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("a.txt"));
}

TEST(AtomicFile, ATargetThatIsAFolderIsAnErrorAndNothingStays) {
  const TemporaryFolder folder;
  folder.write("target/inside.txt", "x");
  EXPECT_THROW(write_file_atomically(folder / "target", "text"), UserError);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("target"));
}

TEST(AtomicFile, WhatIsNoFileIsNotReplaced) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  try {
    write_file_atomically(folder / "pipe", "text");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "[file] '" + (folder / "pipe").string() +
                  "' is a folder or a device, which cannot be replaced; name a file");
  }
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "pipe"));
}

TEST(AtomicFile, ALinkStaysAndItsFileIsReplaced) {
  const TemporaryFolder folder;
  folder.write("real/file", "old");
  std::filesystem::create_symlink("real/file", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(folder.read("real/file"), "new");
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("link", "real"));
}

TEST(AtomicFile, AFolderThatIsAFileIsAnError) {
  const TemporaryFolder folder;
  folder.write("file", "x");
  EXPECT_THROW(write_file_atomically(folder / "file/a.txt", "text"), std::system_error);
  EXPECT_EQ(folder.read("file"), "x");
}

}  // namespace
}  // namespace penstock
