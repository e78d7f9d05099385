#include "optim/momentum_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace penstock::optim {
namespace {

TEST(MomentumSchedule, WithoutWarmUpAndCoolDownItIsTheOption) {
  const MomentumSchedule off{.updates = 10};
  EXPECT_FALSE(off.active());
  for (std::int64_t b = 0; b < 10; ++b) EXPECT_EQ(off.at(b, 0.95), 0.95);
}

TEST(MomentumSchedule, RisesFromTheStart) {
  const MomentumSchedule schedule{.updates = 100, .warmup = 4, .cooldown = 0, .start = 0.5};
  EXPECT_TRUE(schedule.active());
  EXPECT_EQ(schedule.at(0, 0.9), 0.5);
  // A few roundings of 2^-53.
  EXPECT_NEAR(schedule.at(1, 0.9), 0.6, 1e-15);
  EXPECT_NEAR(schedule.at(2, 0.9), 0.7, 1e-15);
  EXPECT_NEAR(schedule.at(3, 0.9), 0.8, 1e-15);
  for (std::int64_t b = 4; b < 100; ++b) EXPECT_EQ(schedule.at(b, 0.9), 0.9) << b;
}

TEST(MomentumSchedule, FallsBackToTheStart) {
  const MomentumSchedule schedule{.updates = 100, .warmup = 0, .cooldown = 4, .start = 0.5};
  EXPECT_TRUE(schedule.active());
  for (std::int64_t b = 0; b <= 95; ++b) EXPECT_EQ(schedule.at(b, 0.9), 0.9) << b;
  EXPECT_NEAR(schedule.at(96, 0.9), 0.8, 1e-15);
  EXPECT_NEAR(schedule.at(97, 0.9), 0.7, 1e-15);
  EXPECT_NEAR(schedule.at(98, 0.9), 0.6, 1e-15);
  EXPECT_EQ(schedule.at(99, 0.9), 0.5);
}

TEST(MomentumSchedule, IsTheSameFromBothEnds) {
  for (std::int64_t updates = 1; updates <= 12; ++updates) {
    for (std::int64_t n = 1; 2 * n <= updates; ++n) {
      const MomentumSchedule schedule{updates, n, n, 0.6};
      for (std::int64_t b = 0; b < updates; ++b) {
        ASSERT_EQ(schedule.at(b, 0.95), schedule.at(updates - 1 - b, 0.95));
      }
    }
  }
}

TEST(MomentumSchedule, StaysBetweenStartAndPeakWithoutJumps) {
  for (const std::int64_t warmup : {0, 1, 300, 500}) {
    for (const std::int64_t cooldown : {0, 1, 50, 500}) {
      const MomentumSchedule schedule{1000, warmup, cooldown, 0.85};
      double steepest = 0;
      for (std::int64_t b = 0; b < 1000; ++b) {
        ASSERT_GE(schedule.at(b, 0.95), 0.85);
        ASSERT_LE(schedule.at(b, 0.95), 0.95);
        if (b == 0) continue;
        steepest = std::max(steepest, std::abs(schedule.at(b, 0.95) - schedule.at(b - 1, 0.95)));
      }
      const std::int64_t shortest =
          std::min(warmup > 0 ? warmup : 1000, cooldown > 0 ? cooldown : 1000);
      ASSERT_LE(steepest, 0.1 / static_cast<double>(shortest) + 1e-12) << warmup << " " << cooldown;
    }
  }
}

TEST(MomentumSchedule, WarmUpAndCoolDownMayMeet) {
  const MomentumSchedule schedule{.updates = 10, .warmup = 5, .cooldown = 5, .start = 0};
  const double expected[] = {0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2, 0};
  for (std::int64_t b = 0; b < 10; ++b) EXPECT_NEAR(schedule.at(b, 1), expected[b], 1e-15) << b;
}

TEST(MomentumSchedule, NeverGoesBeyondTheOption) {
  const MomentumSchedule schedule{.updates = 10, .warmup = 5, .cooldown = 5, .start = 0.85};
  for (std::int64_t b = 0; b < 10; ++b) {
    EXPECT_EQ(schedule.at(b, 0.8), 0.8);
    EXPECT_EQ(schedule.at(b, 0.85), 0.85);
    EXPECT_EQ(schedule.at(b, 0.0), 0.0);
  }
}

TEST(MomentumSchedule, IsThatOfTheConfiguration) {
  config::Config config;
  config.train.steps = 30;
  config.train.momentum_warmup = 3;
  config.train.momentum_cooldown = 4;
  config.train.momentum_start = 0.25;
  const MomentumSchedule schedule = momentum_schedule(config);
  EXPECT_EQ(schedule.updates, 30);
  EXPECT_EQ(schedule.warmup, 3);
  EXPECT_EQ(schedule.cooldown, 4);
  EXPECT_EQ(schedule.start, 0.25);
}

}  // namespace
}  // namespace penstock::optim
