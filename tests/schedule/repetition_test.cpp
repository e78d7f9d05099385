#include "schedule/repetition.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::schedule {
namespace {

/// A letter per block, stage after stage.
int period_of(const std::vector<std::string>& stages) {
  Repetition repetition(static_cast<int>(stages.size()));
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const char block : stages[s]) {
      repetition.add(static_cast<int>(s), static_cast<std::uint64_t>(block));
    }
  }
  return repetition.period();
}

TEST(Repetition, IsThreeTimesTheSame) {
  EXPECT_EQ(period_of({"aaa"}), 1);
  EXPECT_EQ(period_of({"aabb"}), 0);
  EXPECT_EQ(period_of({"xyaaaz"}), 1);
  EXPECT_EQ(period_of({"ababab"}), 2);
  EXPECT_EQ(period_of({"ababaxb"}), 0);
  EXPECT_EQ(period_of({"zabcabcabcz"}), 3);
  EXPECT_EQ(period_of({"abcdabcdabcd"}), 4);
  EXPECT_EQ(period_of({"abcdabcdabc"}), 0);
  EXPECT_EQ(period_of({"abcdeabcdeabcde"}), 0) << "longer than longest_period";
  EXPECT_EQ(period_of({"abababccc"}), 1) << "the least";
}

TEST(Repetition, IsOfAllStagesInTheSameBatches) {
  EXPECT_EQ(period_of({"xaaax", "yybbb"}), 0);
  EXPECT_EQ(period_of({"xaaaa", "ybbby"}), 1);
  EXPECT_EQ(period_of({"ababab", "cccccc"}), 2);
  EXPECT_EQ(period_of({"ababab", "ccccc"}), 0);
  EXPECT_EQ(period_of({"aaa", ""}), 0);
}

TEST(Repetition, StagesMayTakeTurns) {
  Repetition repetition(3);
  constexpr std::string_view blocks = "xyababab";
  for (const char block : blocks) {
    EXPECT_EQ(repetition.period(), 0);
    for (int s = 0; s < 3; ++s) repetition.add(s, static_cast<std::uint64_t>(block));
  }
  EXPECT_EQ(repetition.period(), 2);
}

}  // namespace
}  // namespace penstock::schedule
