#include "simulate/reductions.h"

#include <gtest/gtest.h>

namespace penstock::simulate {
namespace {

TEST(Reductions, KeepEveryRoundUntilAllHaveCollectedIt) {
  Reductions reductions(2);
  for (std::int64_t batch = 0; batch < 100; ++batch) {
    reductions.of(batch).result_at = static_cast<double>(batch);
    reductions.of(batch).contributed = 2;
    reductions.of(batch).waiting = {static_cast<int>(batch)};
    if (batch < 20) continue;  // twenty rounds stay open: the ring has to grow
    EXPECT_EQ(reductions.of(batch - 20).result_at, static_cast<double>(batch - 20));
    EXPECT_EQ(reductions.of(batch - 20).waiting.front(), static_cast<int>(batch - 20));
    reductions.of(batch - 20).collected = 2;
  }
}

TEST(Reductions, ARoundIsCompleteOnceAllHaveContributed) {
  Reductions reductions(3);
  Round& round = reductions.of(0);
  EXPECT_FALSE(reductions.complete(round));
  round.contributed = 2;
  EXPECT_FALSE(reductions.complete(round));
  round.contributed = 3;
  EXPECT_TRUE(reductions.complete(round));
}

TEST(Reductions, ANewRoundStartsEmpty) {
  Reductions reductions(1);
  for (std::int64_t batch = 0; batch < 9; ++batch) {
    Round& round = reductions.of(batch);
    EXPECT_EQ(round.contributed, 0);
    EXPECT_EQ(round.collected, 0);
    EXPECT_EQ(round.result_at, 0);
    EXPECT_TRUE(round.waiting.empty());
    round = {.batch = batch, .contributed = 1, .collected = 1, .result_at = 7, .waiting = {1}};
  }
}

}  // namespace
}  // namespace penstock::simulate
