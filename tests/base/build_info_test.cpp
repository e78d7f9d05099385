#include "base/build_info.h"

#include <gtest/gtest.h>

#include <regex>

namespace penstock {
namespace {

TEST(BuildInfo, RevisionNameMarksEditedSources) {
  BuildInfo info{.version = "1.2.3", .revision = "0123456789ab", .dirty = false, .compiler = "c"};
  EXPECT_EQ(revision_name(info), "0123456789ab");
  info.dirty = true;
  EXPECT_EQ(revision_name(info), "0123456789ab-dirty");
}

TEST(BuildInfo, IsFilledIn) {
  const BuildInfo info = build_info();
  EXPECT_TRUE(std::regex_match(info.version, std::regex(R"(\d+\.\d+\.\d+)"))) << info.version;
  EXPECT_TRUE(std::regex_match(info.revision, std::regex("[0-9a-f]{12,40}|unknown")))
      << info.revision;
  EXPECT_TRUE(std::regex_match(info.compiler, std::regex(R"((g|clang)\+\+ \d+\.\d+\.\d+)")))
      << info.compiler;
}

}  // namespace
}  // namespace penstock
