#include "timeline/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "timelines.h"

namespace penstock::timeline {
namespace {

using testing::HasSubstr;
using testing::Not;

nlohmann::json data_of(const std::string& page) {
  const std::string start = "const data = ";
  const auto begin = page.find(start) + start.size();
  return nlohmann::json::parse(page.substr(begin, page.find(";\n\"use strict\"") - begin));
}

Picture picture_of(const Timeline& timeline, std::string title) {
  Picture picture;
  picture.panels.push_back({std::move(title), &timeline, 1, 11});
  return picture;
}

TEST(Html, HoldsAllCellsFromTheStartOfThePanel) {
  const auto timeline = two_stages();
  const auto data = data_of(html(picture_of(timeline, "a"), "b"));
  const auto& stages = data["panels"][0]["stages"];
  ASSERT_EQ(stages.size(), 2U);
  // mark, begin and duration in ns, batch, micro-batch, version, chunk
  EXPECT_EQ(stages[0][1], nlohmann::json({0, 0, 1000000000, 0, 1, 0, 0}));
  EXPECT_EQ(stages[0][3], nlohmann::json({10, 3500000000, 500000000, 0, 0, 0, 0}));
  EXPECT_EQ(stages[0].size(), 9U) << "2 F, 2 waits, 2 transfers, 2 B, 1 U; contribute is no time";
  EXPECT_EQ(data["panels"][0]["length"], 10e9);
  EXPECT_EQ(data["marks"].size(), 13U);
}

TEST(Html, NeedsNothingFromOutside) {
  const auto timeline = two_stages();
  const std::string page = html(picture_of(timeline, "a"), "b");
  for (const char* word : {"http:", "https:", " src=", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(word)));
  }
}

TEST(Html, CannotBeBrokenByNames) {
  const auto timeline = two_stages();
  const std::string evil = "</script><b>";
  const std::string page = html(picture_of(timeline, evil), evil);
  EXPECT_THAT(page, Not(HasSubstr(evil)));
  EXPECT_THAT(page, HasSubstr("<title>&lt;/script&gt;&lt;b&gt;</title>"));
  EXPECT_EQ(data_of(page)["panels"][0]["title"], evil);
}

}  // namespace
}  // namespace penstock::timeline
