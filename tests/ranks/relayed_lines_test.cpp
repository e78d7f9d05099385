#include "ranks/relayed_lines.h"

#include <gmock/gmock.h>

namespace penstock::ranks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const RelayedLines::Time now;
const RelayedLines::Time later = now + RelayedLines::delay;

TEST(RelayedLines, OfRank0ComeAtOnceAndWhole) {
  RelayedLines lines(2);
  lines.take(0, "a\nb", now);
  EXPECT_THAT(lines.due(now), ElementsAre("a"));
  lines.take(0, "c\n\na\n", now);
  EXPECT_THAT(lines.due(now), ElementsAre("bc", "", "a"));
  lines.take(0, "the end", now);
  EXPECT_THAT(lines.due(later), IsEmpty());
  lines.end(0, now);
  EXPECT_THAT(lines.due(now), ElementsAre("the end"));
}

TEST(RelayedLines, OfOtherRanksComeLaterAndUnderTheirNumber) {
  RelayedLines lines(3);
  lines.take(2, "a\n\n", now);
  lines.take(1, "b\n", now);
  EXPECT_THAT(lines.due(now), IsEmpty());
  EXPECT_THAT(lines.due(later), ElementsAre("[rank 2] a", "[rank 1] b"));
}

TEST(RelayedLines, ThatAllRanksSayComeOnce) {
  RelayedLines lines(3);
  lines.take(1, "same\n", now);
  lines.take(2, "same\n", now);
  lines.take(0, "same\n", now);
  EXPECT_THAT(lines.rest(), ElementsAre("same"));
  lines.take(2, "own\n", now);
  lines.take(1, "own\n", now);
  EXPECT_THAT(lines.rest(), ElementsAre("[rank 2] own"));
}

TEST(RelayedLines, ThatAreAnnouncedComeOnceAndPlain) {
  RelayedLines lines(2);
  lines.announce("failure", now);
  lines.announce("failure", now);
  lines.take(1, "failure\n", now);
  lines.take(0, "failure\n", now);
  EXPECT_THAT(lines.rest(), ElementsAre("failure"));
  lines.take(0, "other\n", now);
  lines.announce("other", now);
  EXPECT_THAT(lines.rest(), ElementsAre("other"));
}

TEST(RelayedLines, ThatComeAgainLaterAreShownAgain) {
  RelayedLines lines(2);
  for (const auto& time : {now, now + RelayedLines::memory / 2, now + 2 * RelayedLines::memory}) {
    lines.take(1, "disk full\n", time);
  }
  EXPECT_THAT(lines.rest(), ElementsAre("[rank 1] disk full", "[rank 1] disk full"));
}

TEST(RelayedLines, RememberTheLastOfEachRank) {
  RelayedLines lines(2);
  EXPECT_EQ(lines.last_line(1), "");
  lines.take(1, "a\nb\n\nunfinished", now);
  EXPECT_EQ(lines.last_line(1), "b");
}

}  // namespace
}  // namespace penstock::ranks
