// What stages report of every update, against what the definition says.

#include <gtest/gtest.h>

#include <cmath>

#include "engine/change_sample.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::small_config;

TEST(StageEvents, CountTheDelayOfEverySchedule) {
  const auto delays = [](const std::string& schedule, int stages, const std::string& clip = "1") {
    const auto c = small_config({"pipeline.schedule=" + schedule, "train.clip=" + clip,
                                 "pipeline.stages=" + std::to_string(stages)});
    return run_engine(c).stage_events;
  };
  for (const auto& stage : delays("2bw", 3)) {
    ASSERT_EQ(stage.size(), 24U);
    for (const auto& event : stage) {
      EXPECT_EQ(event.least_delay, event.batch == 0 ? 0 : 1);
      EXPECT_EQ(event.most_delay, event.batch == 0 ? 0 : 1);
    }
  }
  for (const auto& stage : delays("1f1b", 3)) {
    for (const auto& event : stage) EXPECT_EQ(event.most_delay, 0);
  }
  // 4 micro-batches: with 6 stages, the first is 5 micro-batches behind.
  const auto by_stage = delays("pipedream", 6, "0");
  EXPECT_EQ(by_stage.at(0).back().least_delay, 1);
  EXPECT_EQ(by_stage.at(0).back().most_delay, 2);
  EXPECT_EQ(by_stage.at(3).back().least_delay, 0);
  EXPECT_EQ(by_stage.at(3).back().most_delay, 1);
  EXPECT_EQ(by_stage.at(5).back().most_delay, 0);
}

TEST(StageEvents, NormsOfTheStagesAddUpToTheGlobalOne) {
  for (const bool tied : {false, true}) {
    const auto c =
        small_config({"pipeline.stages=3", tied ? "model.tied=true" : "model.tied=false"});
    const auto run = run_engine(c);
    for (std::size_t b = 0; b < run.norms.size(); ++b) {
      double squares = 0;
      for (const auto& stage : run.stage_events) squares += std::pow(stage[b].gradient_norm, 2);
      // Both holders of a tied weight count it.
      if (tied) {
        EXPECT_GT(std::sqrt(squares), run.norms[b]);
      } else {
        EXPECT_NEAR(std::sqrt(squares), run.norms[b], 1e-12 * run.norms[b]);
      }
    }
  }
}

TEST(StageEvents, GroupsSayHowFarUpdatesAndWeightsMove) {
  const auto c = small_config({"pipeline.stages=2", "optimizer.name=muon",
                               "optimizer.fallback.name=adamw", "train.steps=6"});
  const auto run = run_engine(c);
  GroupChanges all;
  for (const auto& stage : run.stage_events) {
    for (const auto& [group, change] : stage.at(2).groups) all[group] += change;
  }
  ASSERT_EQ(all.size(), 4U);
  for (const auto& [group, change] : all) {
    SCOPED_TRACE(group);
    EXPECT_GT(change.update, 0);
    EXPECT_GT(change.update_change, 0);
    EXPECT_LT(change.update_change, 4 * change.update) << "twice the length at most, when opposite";
    EXPECT_GT(change.weight, 0);
    EXPECT_GT(change.step, 0);
  }
  EXPECT_TRUE(std::isnan(run.stage_events[0][0].groups.begin()->second.update_change))
      << "there is no update before the first";
}

TEST(ChangeSample, IsExactForSmallParameters) {
  ChangeSample sample(at::zeros({10, 20}));
  const at::Tensor u1 = at::randn({10, 20});
  const at::Tensor u2 = at::randn({10, 20});
  const at::Tensor w1 = at::randn({10, 20});
  const at::Tensor w2 = at::randn({10, 20});
  sample.before(w1);
  sample.watch_update(u1);
  EXPECT_TRUE(std::isnan(sample.after(w2).update_change));
  sample.before(w2);
  sample.watch_update(u2);
  const auto change = sample.after(w1);
  const auto square = [](const at::Tensor& t) {
    return t.to(at::kDouble).square().sum().item<double>();
  };
  // Sums of 200 doubles in another order.
  EXPECT_NEAR(change.update, square(u2), 1e-10);
  EXPECT_NEAR(change.update_change, square(u2.to(at::kDouble) - u1.to(at::kDouble)), 1e-10);
  EXPECT_NEAR(change.step, square(w1.to(at::kDouble) - w2.to(at::kDouble)), 1e-10);
  EXPECT_NEAR(change.weight, square(w2), 1e-10);
}

TEST(ChangeSample, EstimatesLargeOnes) {
  const at::Tensor u1 = at::randn({300, 700});
  const at::Tensor u2 = u1 + 0.5 * at::randn({300, 700});
  ChangeSample sample(u1);
  sample.before(u1);
  sample.watch_update(u1);
  sample.after(u1);
  sample.before(u1);
  sample.watch_update(u2.t().contiguous().t());  // as a transposed result of an optimizer
  const auto change = sample.after(u1 - u2);
  // 4096 samples of a chi-square of one degree: the deviation of the mean is sqrt(2 / 4096) = 2.2
  // %; six of them.
  const auto expect_close = [](double estimate, const at::Tensor& exact) {
    const double value = exact.square().sum().item<double>();
    EXPECT_NEAR(estimate, value, 6 * 0.0221 * value);
  };
  expect_close(change.update, u2);
  expect_close(change.update_change, u2 - u1);
  expect_close(change.step, u2);
  expect_close(change.weight, u1);
}

}  // namespace
}  // namespace penstock::engine
