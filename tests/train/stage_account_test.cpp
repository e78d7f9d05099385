#include "train/stage_account.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock::train {
namespace {

using namespace std::chrono_literals;

const StageAccount::Time start{1000s};

/// Totals in the proportions of the causes' order: work is `unit`, waits are 1 to 6 % of it.
engine::StageEvent event(double unit) {
  engine::StageEvent event;
  event.gradient_norm = 3;
  event.least_delay = 1;
  event.most_delay = 2;
  event.usage.work = unit;
  event.usage.wait_activation = 0.01 * unit;
  event.usage.wait_gradient = 0.02 * unit;
  event.usage.wait_update = 0.03 * unit;
  event.usage.transfer = 0.04 * unit;
  event.usage.blocked = 0.05 * unit;
  event.waited_for_core = 0.06 * unit;
  return event;
}

TEST(StageAccount, AnEntryHasTheSecondsSinceTheOneBefore) {
  StageAccount account(start);
  account.add(event(1), start + 2s);
  const auto [record, busy] = account.add(event(5), start + 10s);
  EXPECT_EQ(record.gradient_norm, 3);
  EXPECT_EQ(record.least_delay, 1);
  EXPECT_EQ(record.most_delay, 2);
  EXPECT_EQ(record.work, 4);
  EXPECT_EQ(record.waits.activation, 0.04);
  EXPECT_EQ(record.waits.gradient, 0.08);
  EXPECT_EQ(record.waits.update, 0.12);
  EXPECT_EQ(record.waits.transfer, 0.16);
  EXPECT_EQ(record.waits.blocked, 0.2);
  EXPECT_EQ(record.waits.core, 0.24);
  EXPECT_EQ(busy, 0.5);
}

TEST(StageAccount, TheFirstEntryCountsFromTheStart) {
  StageAccount account(start);
  EXPECT_EQ(account.add(event(1), start + 4s).busy, 0.25);
}

TEST(StageAccount, EvaluationIsNoTimeOfTraining) {
  StageAccount account(start);
  auto told = event(1);
  told.usage.evaluation = 6;
  EXPECT_EQ(account.add(told, start + 8s).busy, 0.5);
  // The second time no more of it.
  told.usage.work = 2;
  EXPECT_EQ(account.add(told, start + 10s).busy, 0.5);
}

TEST(StageAccount, BusyIsAShare) {
  StageAccount account(start);
  EXPECT_EQ(account.add(event(10), start + 1s).busy, 1);
  EXPECT_EQ(account.add(event(20), start + 1s).busy, 0);  // no time has passed
}

TEST(StageAccount, SecondsAreWholeMicrosecondsThatAddUp) {
  StageAccount account(start);
  double sum = 0;
  for (int i = 1; i <= 3000; ++i) {
    engine::StageEvent told;
    told.usage.work = i / 3e6;  // a third of a microsecond each
    const double work = account.add(told, start + 1s).record.work;
    EXPECT_EQ(work, std::round(work * 1e6) / 1e6);
    sum += work;
  }
  EXPECT_NEAR(sum, 1e-3, 1e-12);  // rounding each third alone would give 0
}

TEST(StageAccount, SummaryHasSharesOfTheTimeOfTraining) {
  StageAccount account(start);
  account.add(event(1), start + 2s);
  account.add(event(4), start + 8s);
  const auto summary = account.summary(8);
  EXPECT_EQ(summary.busy, 0.5);
  EXPECT_NEAR(summary.waits.activation, 0.005, 1e-12);
  EXPECT_NEAR(summary.waits.core, 0.03, 1e-12);
  EXPECT_NEAR(summary.idle, 0.5 - 0.5 * 0.21, 1e-12);
  EXPECT_EQ(summary.mean_delay, 1.5);
  EXPECT_EQ(summary.least_delay, 1);
  EXPECT_EQ(summary.most_delay, 2);
  // Work of a moment beyond the last update.
  EXPECT_EQ(account.summary(2).busy, 1);
  EXPECT_EQ(account.summary(2).idle, 0);
}

TEST(StageAccount, SummaryOfNothing) {
  const auto summary = StageAccount(start).summary(0);
  EXPECT_EQ(summary.busy, 0);
  EXPECT_EQ(summary.idle, 0);
  EXPECT_TRUE(std::isnan(summary.mean_delay));
}

TEST(StageAccount, EarlierRecordsCountInTheSummaryAlone) {
  StageAccount account(start);
  observe::StageRecord kept;
  kept.work = 3;
  kept.waits.update = 1;
  kept.least_delay = 0;
  kept.most_delay = 0;
  account.add(kept);
  const auto [record, busy] = account.add(event(1), start + 2s);
  EXPECT_EQ(record.work, 1);
  EXPECT_EQ(busy, 0.5);
  const auto summary = account.summary(8);
  EXPECT_EQ(summary.busy, 0.5);
  EXPECT_NEAR(summary.waits.update, 1.03 / 8, 1e-12);
  EXPECT_EQ(summary.mean_delay, 0.75);
  EXPECT_EQ(summary.least_delay, 0);
  EXPECT_EQ(summary.most_delay, 2);
}

}  // namespace
}  // namespace penstock::train
