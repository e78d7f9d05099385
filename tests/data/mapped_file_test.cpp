#include "data/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <utility>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

TEST(MappedFile, HasTheBytesAndMovesThem) {
  const support::TemporaryFolder folder;
  MappedFile first(folder.write("a", std::string("x\0y", 3)));
  EXPECT_EQ(first.bytes(), std::string_view("x\0y", 3));
  const char* where = first.bytes().data();
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), where);
  MappedFile third(folder.write("b", "other"));
  third = std::move(second);
  EXPECT_EQ(third.bytes(), std::string_view("x\0y", 3));
}

TEST(MappedFile, MayBeEmpty) {
  const support::TemporaryFolder folder;
  EXPECT_EQ(MappedFile(folder.write("empty", "")).bytes(), "");
}

TEST(MappedFile, NamesWhatCannotBeRead) {
  const support::TemporaryFolder folder;
  const std::string missing = (folder / "none").string();
  EXPECT_EQ(error_of([&] { MappedFile file(missing); }),
            "[data] '" + missing + "' does not exist; check the path");
  EXPECT_EQ(error_of([&] { MappedFile file(folder.path()); }),
            "[data] '" + folder.path().string() + "' is a folder where a file is needed");
  const std::string pipe = (folder / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { MappedFile file(pipe); }),
            "[data] '" + pipe + "' is not a regular file");
}

}  // namespace
}  // namespace penstock::data
