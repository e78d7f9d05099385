#include "optim/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

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

using config::LrShape;

constexpr LrShape shapes[] = {LrShape::cosine, LrShape::linear, LrShape::constant, LrShape::wsd};

TEST(LrSchedule, LinearOverTheRemainingUpdates) {
  const LrSchedule schedule{
      .updates = 12, .warmup = 2, .final_factor = 0.5, .shape = LrShape::linear};
  EXPECT_EQ(schedule.factor(0), 0.5);
  EXPECT_EQ(schedule.factor(2), 1.0);
  // A few roundings of 2^-53.
  EXPECT_NEAR(schedule.factor(3), 0.95, 1e-15);
  EXPECT_NEAR(schedule.factor(7), 0.75, 1e-15);
  EXPECT_NEAR(schedule.factor(11), 0.55, 1e-15);
  EXPECT_EQ(schedule.factor(12), 0.5) << "the first update that is not made";
}

TEST(LrSchedule, ConstantStaysAtThePeakWhateverTheEndWouldBe) {
  const LrSchedule schedule{
      .updates = 9, .warmup = 3, .final_factor = 0.1, .shape = LrShape::constant};
  EXPECT_DOUBLE_EQ(schedule.factor(0), 1.0 / 3);
  for (std::int64_t b = 2; b < 9; ++b) EXPECT_EQ(schedule.factor(b), 1.0) << b;
}

TEST(LrSchedule, WsdFallsOverItsLastUpdatesOnly) {
  const LrSchedule schedule{
      .updates = 20, .warmup = 4, .final_factor = 0.2, .shape = LrShape::wsd, .decay = 8};
  EXPECT_EQ(schedule.factor(1), 0.5);
  for (std::int64_t b = 3; b <= 12; ++b) EXPECT_EQ(schedule.factor(b), 1.0) << b;
  EXPECT_NEAR(schedule.factor(13), 0.9, 1e-15);
  EXPECT_NEAR(schedule.factor(16), 0.6, 1e-15);
  EXPECT_NEAR(schedule.factor(19), 0.3, 1e-15);
  EXPECT_NEAR(schedule.factor(20), 0.2, 1e-15) << "the first update that is not made";
}

TEST(LrSchedule, WsdOfOneUpdateOfDecayAndOfNothingElse) {
  const LrSchedule last{
      .updates = 5, .warmup = 0, .final_factor = 0.1, .shape = LrShape::wsd, .decay = 1};
  for (std::int64_t b = 0; b < 5; ++b) EXPECT_EQ(last.factor(b), 1.0) << b;
  const LrSchedule all{
      .updates = 8, .warmup = 0, .final_factor = 0.25, .shape = LrShape::wsd, .decay = 8};
  const LrSchedule linear{
      .updates = 8, .warmup = 0, .final_factor = 0.25, .shape = LrShape::linear};
  for (std::int64_t b = 0; b < 8; ++b) EXPECT_EQ(all.factor(b), linear.factor(b)) << b;
}

/// Every schedule of up to 12 updates, by shape, warm-up and decay.
std::vector<LrSchedule> small_schedules(double final_factor) {
  std::vector<LrSchedule> all;
  for (const LrShape shape : shapes) {
    for (std::int64_t updates = 1; updates <= 12; ++updates) {
      for (std::int64_t warmup = 0; warmup <= updates; ++warmup) {
        const bool is_wsd = shape == LrShape::wsd;
        for (std::int64_t decay = is_wsd; decay <= (is_wsd ? updates - warmup : 0); ++decay) {
          all.push_back({updates, warmup, final_factor, shape, decay});
        }
      }
    }
  }
  return all;
}

TEST(LrSchedule, RisesToThePeakAndNeverAgainAfterIt) {
  for (const double final_factor : {0.0, 0.1, 1.0}) {
    for (const LrSchedule& schedule : small_schedules(final_factor)) {
      for (std::int64_t b = 0; b + 1 < schedule.warmup; ++b) {
        ASSERT_LT(schedule.factor(b), schedule.factor(b + 1));
      }
      if (schedule.warmup > 0) {
        ASSERT_EQ(schedule.factor(schedule.warmup - 1), 1.0);
      }
      if (schedule.warmup < schedule.updates) {
        ASSERT_EQ(schedule.factor(schedule.warmup), 1.0);
      }
      for (std::int64_t b = schedule.warmup; b < schedule.updates; ++b) {
        ASSERT_GT(schedule.factor(b), final_factor - 1e-15);
        ASSERT_GT(schedule.factor(b), 0.0) << "no update is lost";
        ASSERT_LE(schedule.factor(b + 1), schedule.factor(b));
      }
    }
  }
}

TEST(LrSchedule, HasNoJumps) {
  // The steepest of them, the cosine, falls by at most (1 - f) sin(pi / 2) pi / 2 per part of n.
  constexpr std::int64_t n = 1000;
  for (const LrShape shape : shapes) {
    const LrSchedule schedule{2 * n, n, 0.1, shape, shape == LrShape::wsd ? n : 0};
    for (std::int64_t b = 0; b < 2 * n; ++b) {
      ASSERT_LT(std::abs(schedule.factor(b + 1) - schedule.factor(b)), 1.6 / n) << b;
    }
  }
}

TEST(LrSchedule, IsThatOfTheConfiguration) {
  config::Config config;
  config.train.steps = 30;
  config.train.warmup = 3;
  config.train.decay = 7;
  config.train.final_lr = 0.25;
  config.train.lr_schedule = LrShape::wsd;
  const LrSchedule schedule = lr_schedule(config);
  EXPECT_EQ(schedule.updates, 30);
  EXPECT_EQ(schedule.warmup, 3);
  EXPECT_EQ(schedule.decay, 7);
  EXPECT_EQ(schedule.final_factor, 0.25);
  EXPECT_EQ(schedule.shape, LrShape::wsd);
}

TEST(LrSchedule, OneUpdate) {
  EXPECT_EQ((LrSchedule{.updates = 1, .warmup = 0, .final_factor = 0.1}.factor(0)), 1.0);
  EXPECT_EQ((LrSchedule{.updates = 1, .warmup = 1, .final_factor = 0.1}.factor(0)), 1.0);
}

}  // namespace
}  // namespace penstock::optim
