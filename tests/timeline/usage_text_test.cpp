#include "timeline/usage_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace penstock::timeline {
namespace {

using testing::ElementsAre;

TEST(Causes, AreAllOfAUsageEachOnce) {
  Usage usage;
  double sum = 0;
  std::set<char> letters;
  for (std::size_t i = 0; i < causes.size(); ++i) {
    const double seconds = static_cast<double>(1 << i);  // every sum tells what is in it
    usage.*causes[i].seconds = seconds;
    sum += seconds;
    letters.insert(causes[i].letter);
    EXPECT_LE(causes[i].head.size(), 7U);
  }
  EXPECT_EQ(usage.seconds(), sum);
  EXPECT_EQ(letters.size(), causes.size());
  double bubble = 0;
  for (const Cause& cause : bubble_causes) bubble += usage.*cause.seconds;
  EXPECT_EQ(usage.bubble(), bubble);
}

TEST(Bar, HasTheProportionsOfTheTimes) {
  const Usage usage{.work = 16,
                    .evaluation = 8,
                    .wait_activation = 8,
                    .wait_gradient = 8,
                    .wait_update = 8,
                    .transfer = 8,
                    .blocked = 7,
                    .idle = 1};
  EXPECT_EQ(bar(usage, 16, false), "####eeaagguuttbb") << "idle is less than half a column";
  EXPECT_EQ(bar(usage, 64, false),
            "################eeeeeeeeaaaaaaaagggggggguuuuuuuuttttttttbbbbbbb.");
  EXPECT_EQ(bar({.wait_update = 1, .idle = 1}, 4, true),
            "\x1b[38;5;231;48;5;161muu\x1b[0m\x1b[38;5;231;48;5;244m..\x1b[0m");
  EXPECT_EQ(bar({}, 5, true), "     ");
}

TEST(Bar, IsAlwaysFull) {
  // Thirds and sevenths round in both directions; the last border is the end all the same.
  for (std::size_t width = 1; width < 40; ++width) {
    const Usage usage{.work = 0.1, .wait_gradient = 1.0 / 3, .transfer = 1.0 / 7, .idle = 1e-9};
    EXPECT_EQ(bar(usage, width, false).size(), width);
  }
}

TEST(BarLegend, NamesEveryLetter) {
  EXPECT_EQ(bar_legend(),
            "# work, e evaluation; waits: a activation, g gradient, u update, t transfer, b "
            "blocked, . idle");
}

TEST(StageJson, HasWorkAndTheCausesOfTheBubble) {
  const Usage usage{.work = 1,
                    .evaluation = 2,
                    .wait_activation = 3,
                    .wait_gradient = 4,
                    .wait_update = 5,
                    .transfer = 6,
                    .blocked = 7,
                    .idle = 8};
  EXPECT_EQ(stage_json(usage, 0.5).dump(),
            R"({"bubble_fraction":0.5,"work":1.0,"evaluation":2.0,"causes":{"activation":3.0,)"
            R"("gradient":4.0,"update":5.0,"transfer":6.0,"blocked":7.0,"idle":8.0}})");
}

std::vector<std::string> names(int stages) {
  std::vector<std::string> names;
  for (const StageGroup& group : stage_groups(stages)) names.push_back(group.name());
  return names;
}

TEST(StageGroups, AreAtMost32) {
  EXPECT_THAT(names(0), ElementsAre());
  EXPECT_THAT(names(3), ElementsAre("0", "1", "2"));
  EXPECT_EQ(names(32).back(), "31");
  EXPECT_EQ(names(33).size(), 17U);
  EXPECT_EQ(names(33).front(), "0-1");
  EXPECT_EQ(names(33).back(), "32") << "what is left";
  EXPECT_EQ(names(1024).size(), 32U);
  EXPECT_EQ(names(1024).back(), "992-1023");
}

}  // namespace
}  // namespace penstock::timeline
