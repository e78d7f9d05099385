#include "ranks/shares.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace penstock::ranks {
namespace {

TEST(Shares, CoverAllStagesInOrderAndDifferByOneAtMost) {
  for (int stages = 1; stages <= 9; ++stages) {
    for (int ranks = 1; ranks <= stages; ++ranks) {
      int next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto share = stages_of_rank(rank, ranks, stages);
        EXPECT_EQ(share.first, next);
        EXPECT_GE(share.count, stages / ranks);
        EXPECT_LE(share.count, (stages + ranks - 1) / ranks);
        for (int s = 0; s < share.count; ++s) {
          EXPECT_EQ(rank_of_stage(next + s, ranks, stages), rank);
        }
        next += share.count;
      }
      EXPECT_EQ(next, stages);
    }
  }
}

TEST(Shares, OfAHostAreThoseOfItsRanks) {
  Environment environment{.rank = 5, .size = 6, .local_rank = 1, .local_size = 2, .address = {}};
  const auto host = stages_of_host(environment, 8);  // ranks 4 and 5 of 6
  EXPECT_EQ(host.first, stages_of_rank(4, 6, 8).first);
  EXPECT_EQ(host.first + host.count, 8);
}

TEST(Shares, NeedAStageForEveryRank) {
  try {
    stages_of_rank(0, 4, 2);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[ranks] each rank needs a stage, but there are 4 ranks and pipeline.stages = 2; "
                 "start at most 2 ranks or set pipeline.stages");
  }
}

}  // namespace
}  // namespace penstock::ranks
