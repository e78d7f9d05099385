#include "data/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <utility>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

TEST(MappedFile, HasTheBytesAndMovesThem) {
  const support::TemporaryFolder folder;
  const std::string_view bytes("x\0y", 3);
  auto first = std::make_unique<MappedFile>(folder.write("a", bytes));
  EXPECT_EQ(first->bytes(), bytes);
  const char* where = first->bytes().data();
  auto second = std::make_unique<MappedFile>(std::move(*first));
  first.reset();
  EXPECT_EQ(second->bytes().data(), where);
  EXPECT_EQ(second->bytes(), bytes);
  MappedFile third(folder.write("b", "other"));
  third = std::move(*second);
  second.reset();
  EXPECT_EQ(third.bytes(), bytes);
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
