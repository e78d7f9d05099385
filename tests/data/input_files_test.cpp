#include "data/input_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class InputFilesTest : public ::testing::Test {
 protected:
  InputFilesTest() {
    for (const char* name : {"b.py", "a/x.py", "a/y.txt", "a/b/z.py", "a-b/w.py", "a/B.py",
                             ".hidden.py", ".git/config.py", "Z.py"}) {
      folder_.write(name, name);
    }
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  Names names(const std::string& input) const {
    Names found;
    for (const InputFile& file : find_files({at(input)})) found.push_back(file.name);
    return found;
  }

  support::TemporaryFolder folder_;
};

TEST(ComponentMatches, FollowsShells) {
  EXPECT_TRUE(component_matches("a.py", "*.py"));
  EXPECT_TRUE(component_matches("a.py.py", "*.py"));
  EXPECT_TRUE(component_matches("abcbc", "a*bc"));
  EXPECT_TRUE(component_matches("abc", "a?c"));
  EXPECT_TRUE(component_matches("", "**"));
  EXPECT_TRUE(component_matches("a5", "a[0-9]"));
  EXPECT_TRUE(component_matches("a-", "a[x-]"));
  EXPECT_TRUE(component_matches("a]", "a[]]"));
  EXPECT_TRUE(component_matches("ax", "a[!0-9]"));
  EXPECT_TRUE(component_matches("a[", "a["));
  EXPECT_TRUE(component_matches("\xff", "[\x80-\xff]"));
  EXPECT_TRUE(component_matches(".x", ".*"));
  EXPECT_FALSE(component_matches(".x", "*"));
  EXPECT_FALSE(component_matches("a.pyc", "*.py"));
  EXPECT_FALSE(component_matches("ac", "a?c"));
  EXPECT_FALSE(component_matches("ab", "a[0-9]"));
  EXPECT_FALSE(component_matches("a5", "a[!0-9]"));
  EXPECT_FALSE(component_matches("a", ""));
}

// A pattern with many stars must not take exponential time.
TEST(ComponentMatches, IsFast) {
  EXPECT_FALSE(component_matches(std::string(200, 'a'), "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"));
}

TEST_F(InputFilesTest, FolderIsAllBelowInByteOrder) {
  EXPECT_EQ(names("."),
            (Names{"Z.py", "a-b/w.py", "a/B.py", "a/b/z.py", "a/x.py", "a/y.txt", "b.py"}));
}

TEST_F(InputFilesTest, Globs) {
  EXPECT_EQ(names("*.py"), (Names{"Z.py", "b.py"}));
  EXPECT_EQ(names("**/*.py"), (Names{"Z.py", "a-b/w.py", "a/B.py", "a/b/z.py", "a/x.py", "b.py"}));
  EXPECT_EQ(names("a/**/*.py"), (Names{"B.py", "b/z.py", "x.py"}));
  EXPECT_EQ(names("a*/*.py"), (Names{"a-b/w.py", "a/B.py", "a/x.py"}));
  EXPECT_EQ(names("**/b/*"), (Names{"a/b/z.py"}));
  EXPECT_EQ(names("**/**/z.py"), (Names{"a/b/z.py"}));
  EXPECT_EQ(names("a/**"), (Names{"B.py", "b/z.py", "x.py", "y.txt"}));
  EXPECT_EQ(names(".git/*"), (Names{"config.py"}));
}

TEST_F(InputFilesTest, RelativeGlobs) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  Names found;
  for (const InputFile& file : find_files({"*.py", "a/*.txt"})) found.push_back(file.name);
  fs::current_path(before);
  EXPECT_EQ(found, (Names{"Z.py", "b.py", "y.txt"}));
}

TEST_F(InputFilesTest, FilesKeepTheirFacts) {
  const auto files = find_files({at("a/x.py"), at("b.py")});
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].path, folder_ / "a/x.py");
  EXPECT_EQ(files[0].name, "x.py");
  EXPECT_TRUE(files[0].named);
  EXPECT_EQ(files[0].size, 6U);
  EXPECT_GT(files[0].mtime_ns, 0);
  EXPECT_FALSE(find_files({at("a")})[0].named);
}

TEST_F(InputFilesTest, AFileCountsOnceAndInputsKeepTheirOrder) {
  fs::create_symlink(folder_ / "b.py", folder_ / "a/link.py");
  Names found;
  for (const InputFile& file : find_files({at("b.py"), at("a"), at("**/*.py")})) {
    found.push_back(file.name);
  }
  EXPECT_EQ(found, (Names{"b.py", "B.py", "b/z.py", "x.py", "y.txt", "Z.py", "a-b/w.py"}));
}

TEST_F(InputFilesTest, DoesNotFollowLinksToFolders) {
  fs::create_directory_symlink(folder_.path(), folder_ / "a/loop");
  EXPECT_EQ(names("a"), (Names{"B.py", "b/z.py", "x.py", "y.txt"}));
}

TEST_F(InputFilesTest, LeavesOutAFolder) {
  Names found;
  for (const InputFile& file : find_files({folder_.path().string()}, folder_ / "a")) {
    found.push_back(file.name);
  }
  EXPECT_EQ(found, (Names{"Z.py", "a-b/w.py", "b.py"}));
}

TEST_F(InputFilesTest, AnExistingNameIsNoGlob) {
  folder_.write("c[1].py", "");
  EXPECT_EQ(names("c[1].py"), (Names{"c[1].py"}));
}

TEST_F(InputFilesTest, SaysWhatIsMissing) {
  fs::create_directory(folder_ / "empty");
  const auto error = [&](const std::string& name) {
    return error_of([&] { find_files({at(name)}); });
  };
  EXPECT_EQ(error("none.txt"), "[data] '" + at("none.txt") + "' does not exist; check the path");
  EXPECT_EQ(error("*.md"), "[data] '" + at("*.md") + "' matches no files");
  EXPECT_EQ(error("none/*.py"), "[data] '" + at("none/*.py") +
                                    "' matches nothing: there is no folder '" + at("none") + "'");
  EXPECT_EQ(error("empty"), "[data] folder '" + at("empty") + "' holds no files");
  EXPECT_EQ(error_of([] { find_files({"/dev/null"}); }),
            "[data] '/dev/null' is not a regular file");
}

}  // namespace
}  // namespace penstock::data
