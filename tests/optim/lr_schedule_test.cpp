#include "optim/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock::optim {
namespace {

TEST(LrSchedule, WarmUpStartsWithOnePartAndEndsWithOne) {
  const LrSchedule schedule{.updates = 100, .warmup = 4, .final_factor = 0.1};
  EXPECT_EQ(schedule.factor(0), 0.25);
  EXPECT_EQ(schedule.factor(1), 0.5);
  EXPECT_EQ(schedule.factor(2), 0.75);
  EXPECT_EQ(schedule.factor(3), 1.0);
  EXPECT_EQ(schedule.factor(4), 1.0) << "the cosine starts with 1 too";
  EXPECT_LT(schedule.factor(5), 1.0);
}

TEST(LrSchedule, CosineOverTheRemainingUpdates) {
  const LrSchedule schedule{.updates = 16, .warmup = 4, .final_factor = 0.2};
  // Thirds and quarters of the half turn have closed forms. Tolerance: a few roundings of 2^-53.
  EXPECT_NEAR(schedule.factor(4 + 3), 0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(schedule.factor(4 + 4), 0.2 + 0.8 * 0.75, 1e-15);
  EXPECT_NEAR(schedule.factor(4 + 6), 0.6, 1e-15);
  EXPECT_NEAR(schedule.factor(4 + 8), 0.2 + 0.8 * 0.25, 1e-15);
  EXPECT_NEAR(schedule.factor(16), 0.2, 1e-15) << "the first update that is not done";
  for (std::int64_t b = 4; b < 16; ++b) EXPECT_GT(schedule.factor(b), schedule.factor(b + 1)) << b;
}

TEST(LrSchedule, WithoutWarmUpItStartsAtThePeak) {
  const LrSchedule schedule{.updates = 10, .warmup = 0, .final_factor = 0.5};
  EXPECT_EQ(schedule.factor(0), 1.0);
  EXPECT_NEAR(schedule.factor(5), 0.75, 1e-15);
}

TEST(LrSchedule, OnlyWarmUp) {
  const LrSchedule schedule{.updates = 5, .warmup = 5, .final_factor = 0.1};
  for (std::int64_t b = 0; b < 5; ++b) {
    EXPECT_DOUBLE_EQ(schedule.factor(b), static_cast<double>(b + 1) / 5);
  }
}

TEST(LrSchedule, FinalFactorOneKeepsThePeakAndZeroEndsAtNothing) {
  const LrSchedule constant{.updates = 50, .warmup = 2, .final_factor = 1};
  const LrSchedule to_zero{.updates = 50, .warmup = 2, .final_factor = 0};
  for (std::int64_t b = 2; b < 50; ++b) {
    EXPECT_EQ(constant.factor(b), 1.0);
    EXPECT_GT(to_zero.factor(b), 0.0);
  }
  EXPECT_NEAR(to_zero.factor(50), 0, 1e-15);
}

TEST(LrSchedule, OneUpdate) {
  EXPECT_EQ((LrSchedule{.updates = 1, .warmup = 0, .final_factor = 0.1}.factor(0)), 1.0);
  EXPECT_EQ((LrSchedule{.updates = 1, .warmup = 1, .final_factor = 0.1}.factor(0)), 1.0);
}

}  // namespace
}  // namespace penstock::optim
