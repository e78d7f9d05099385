#include "train/run_reporter.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "support/engine_run.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using Duration = steady_clock::duration;

/// A reporter of two stages, fed with events at made-up times after its start.
class RunReporterTest : public testing::Test {
 protected:
  RunReporterTest()
      : config_(tests::small_config({"train.steps=100", "pipeline.stages=2"})),
        metrics_(folder_ / "metrics.jsonl"),
        progress_(console_, {}, 100) {
    start({});
  }

  void start(const KeptMetrics& kept) {
    before_ = steady_clock::now();
    updated_ = before_;
    reporter_.emplace(config_, RunReporter::Sinks{&metrics_, &progress_}, kept);
    after_ = steady_clock::now();
  }

  engine::UpdateEvent update_event(std::int64_t batch, double loss, Duration at) {
    updated_ = before_ + at;
    return {.batch = batch,
            .loss = loss,
            .gradient_norm = 2,
            .clip_factor = 0.25,
            .lr = 1e-3,
            .at = updated_};
  }

  /// `worked`: seconds since the start.
  static engine::StageEvent stage_event(int stage, std::int64_t batch, double worked = 0) {
    engine::StageEvent event;
    event.stage = stage;
    event.batch = batch;
    event.usage.work = worked;
    return event;
  }

  /// Told by everybody.
  void update(std::int64_t batch, double loss, Duration at) {
    reporter_->handle(update_event(batch, loss, at));
    for (int stage = 0; stage < 2; ++stage) reporter_->handle(stage_event(stage, batch));
  }

  /// Begins with the update before it.
  void evaluation(std::int64_t version, double loss, Duration at) {
    reporter_->handle(engine::EvaluationEvent{.version = version,
                                              .loss = loss,
                                              .tokens = 5 * config_.model.seq,
                                              .begin = updated_,
                                              .at = before_ + at});
  }

  std::vector<nlohmann::json> records() const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(folder_.read("metrics.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  /// The reporter takes its start itself, somewhere between before_ and after_.
  double uncertainty() const { return std::chrono::duration<double>(after_ - before_).count(); }

  const support::TemporaryFolder folder_;
  const config::Config config_;
  observe::MetricsWriter metrics_;
  std::ostringstream console_;
  observe::Progress progress_;
  steady_clock::time_point before_;
  steady_clock::time_point updated_;
  std::optional<RunReporter> reporter_;
  steady_clock::time_point after_;
};

TEST_F(RunReporterTest, WithoutEventsThereIsNothingToSum) {
  reporter_->finish();
  const auto summary = reporter_->summary();
  EXPECT_EQ(summary.steps, 0);
  EXPECT_EQ(summary.tokens, 0);
  EXPECT_EQ(summary.seconds, 0);
  EXPECT_EQ(summary.tokens_per_s, 0);
  EXPECT_EQ(summary.skipped, 0);
  EXPECT_FALSE(summary.first_skipped);
  EXPECT_FALSE(summary.train_loss);
  EXPECT_FALSE(summary.val_loss);
  ASSERT_EQ(summary.stages.size(), 2U);
  EXPECT_EQ(summary.stages[0].busy, 0);
  EXPECT_TRUE(reporter_->losses().empty());
  EXPECT_TRUE(records().empty());
}

TEST_F(RunReporterTest, TimesAreThoseOfTheEventsWithoutEvaluations) {
  update(0, 5, 10s);
  update(1, 4, 20s);
  evaluation(2, 4.5, 23s);
  update(2, 3, 33s);
  update(3, 2, 43s);
  evaluation(4, 2.5, 50s);
  const auto summary = reporter_->summary();
  EXPECT_EQ(summary.steps, 4);
  EXPECT_EQ(summary.tokens, 4 * 4 * 2 * 16);
  // 43 s until the last update, 3 of them evaluation; the last evaluation lies behind it.
  EXPECT_NEAR(summary.seconds, 40, uncertainty());
  EXPECT_NEAR(summary.eval_seconds, 3 + 7, 1e-9);
  EXPECT_NEAR(summary.tokens_per_s, 512 / summary.seconds, 1e-9);
  EXPECT_EQ(summary.train_loss, 2);
  EXPECT_EQ(summary.val_loss, 2.5);
  EXPECT_EQ(reporter_->losses(), (std::vector<double>{5, 4, 3, 2}));
}

TEST_F(RunReporterTest, EveryEventIsARecord) {
  update(0, 5.25, 10s);
  evaluation(1, 4.5, 12s);
  update(1, 0.1, 22s);
  const auto lines = records();
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[0]["loss"], 5.25);
  EXPECT_EQ(lines[0]["gradient_norm"], 2);
  EXPECT_EQ(lines[0]["clip_factor"], 0.25);
  EXPECT_EQ(lines[0]["lr"], 1e-3);
  EXPECT_EQ(lines[0]["tokens"], 128);
  EXPECT_NEAR(lines[0]["seconds"].get<double>(), 10, uncertainty());
  EXPECT_EQ(lines[0]["busy"].size(), 2U);
  EXPECT_EQ(lines[0]["skipped"], false);
  EXPECT_EQ(lines[0]["stages"].size(), 2U);
  EXPECT_EQ(lines[1]["step"], 1);
  EXPECT_EQ(lines[1]["val_loss"], 4.5);
  EXPECT_EQ(lines[1]["sequences"], 5);
  EXPECT_NEAR(lines[1]["seconds"].get<double>(), 12, uncertainty());
  EXPECT_NEAR(lines[1]["duration"].get<double>(), 2, 1e-9);
  EXPECT_EQ(lines[2]["step"], 2);
  EXPECT_EQ(lines[2]["loss"], 0.1);
  EXPECT_EQ(lines[2]["tokens"], 256);
  EXPECT_NEAR(lines[2]["seconds"].get<double>(), 22, uncertainty());
}

TEST_F(RunReporterTest, ARecordWaitsForAllStages) {
  reporter_->handle(stage_event(1, 0));
  reporter_->handle(update_event(0, 5, 10s));
  reporter_->handle(stage_event(1, 1));
  EXPECT_TRUE(records().empty());
  EXPECT_EQ(reporter_->summary().steps, 0);
  reporter_->handle(stage_event(0, 0));
  EXPECT_EQ(records().size(), 1U);
  EXPECT_EQ(reporter_->summary().steps, 1);
}

TEST_F(RunReporterTest, WhatTheStagesTellIsInTheRecord) {
  auto first = stage_event(0, 0, 4);
  first.gradient_norm = 1.5;
  first.least_delay = 0;
  first.most_delay = 1;
  first.usage.wait_gradient = 2;
  first.usage.evaluation = 2;
  first.waited_for_core = 0.5;
  reporter_->handle(first);
  reporter_->handle(stage_event(1, 0, 100));
  reporter_->handle(update_event(0, 5, 10s));
  auto second = first;
  second.batch = 1;
  second.usage.work = 6;
  second.usage.wait_gradient = 5;
  reporter_->handle(update_event(1, 5, 20s));
  reporter_->handle(stage_event(1, 1, 100));
  reporter_->handle(second);
  const auto lines = records();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["stages"][0], nlohmann::json::parse(R"({
      "gradient_norm": 1.5, "work": 4.0, "delay": [0, 1],
      "waits": {"activation": 0.0, "gradient": 2.0, "update": 0.0, "transfer": 0.0,
                "blocked": 0.0, "core": 0.5}})"));
  EXPECT_EQ(lines[0]["stages"][1]["work"], 100.0);
  EXPECT_NEAR(lines[0]["busy"][0].get<double>(), 4.0 / 8, uncertainty());
  EXPECT_EQ(lines[0]["busy"][1], 1.0);  // never more than all the time
  EXPECT_EQ(lines[1]["stages"][0]["work"], 2.0);
  EXPECT_EQ(lines[1]["stages"][0]["waits"]["gradient"], 3.0);
  EXPECT_EQ(lines[1]["stages"][0]["waits"]["core"], 0.0);
  EXPECT_NEAR(lines[1]["busy"][0].get<double>(), 0.2, 1e-9);
  EXPECT_EQ(lines[1]["busy"][1], 0.0);
  const auto stage = reporter_->summary().stages[0];
  EXPECT_NEAR(stage.busy, 6.0 / 20, uncertainty());
  EXPECT_NEAR(stage.waits.gradient, 5.0 / 20, uncertainty());
  EXPECT_EQ(stage.mean_delay, 0.5);
}

TEST_F(RunReporterTest, GroupsAreSummedOverTheStages) {
  // Squares, so that |update| = 5 and |change| = 2.5 over both stages, |step| = 0.1 of |weight|
  // = 10.
  auto first = stage_event(0, 0);
  first.groups["matrices"] = {.update = 9, .update_change = 6, .step = 0.004, .weight = 60};
  first.groups["embedding"] = {
      .update = 4, .update_change = observe::undefined, .step = 1, .weight = 4};
  auto second = stage_event(1, 0);
  second.groups["matrices"] = {.update = 16, .update_change = 0.25, .step = 0.006, .weight = 40};
  second.groups["gains"] = {.update = 0, .update_change = 0, .step = 0, .weight = 9};
  reporter_->handle(update_event(0, 5, 10s));
  reporter_->handle(first);
  reporter_->handle(second);
  const auto groups = records().at(0)["groups"];
  EXPECT_EQ(groups.size(), 3U);
  EXPECT_DOUBLE_EQ(groups["matrices"]["error_ratio"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(groups["matrices"]["update_ratio"].get<double>(), 0.01);
  EXPECT_TRUE(groups["embedding"]["error_ratio"].is_null());
  EXPECT_EQ(groups["embedding"]["update_ratio"], 0.5);
  EXPECT_TRUE(groups["gains"]["error_ratio"].is_null());  // 0 / 0
  EXPECT_EQ(groups["gains"]["update_ratio"], 0.0);
}

TEST_F(RunReporterTest, SkippedUpdates) {
  update(0, 5, 10s);
  for (const std::int64_t batch : {1, 2}) {
    auto skipped = update_event(batch, 7, 20s);  // a finite loss, but some gradient was not
    skipped.skipped = true;
    skipped.gradient_norm = observe::undefined;
    reporter_->handle(skipped);
    for (int stage = 0; stage < 2; ++stage) reporter_->handle(stage_event(stage, batch));
  }
  const auto lines = records();
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1]["skipped"], true);
  EXPECT_TRUE(lines[1]["loss"].is_null());
  EXPECT_TRUE(lines[1]["gradient_norm"].is_null());
  const auto summary = reporter_->summary();
  EXPECT_EQ(summary.steps, 3);
  EXPECT_EQ(summary.skipped, 2);
  EXPECT_EQ(summary.first_skipped, 2);
  EXPECT_EQ(summary.train_loss, 5);
  ASSERT_EQ(reporter_->losses().size(), 3U);
  EXPECT_TRUE(std::isnan(reporter_->losses()[1]));
}

TEST_F(RunReporterTest, AFailedRunsLastUpdatesAreWrittenWithWhatIsThere) {
  reporter_->handle(update_event(0, 5, 10s));
  reporter_->handle(stage_event(1, 0, 5));
  reporter_->handle(stage_event(1, 1));  // its update is not known
  EXPECT_TRUE(records().empty());
  reporter_->finish();
  const auto lines = records();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["loss"], 5.0);
  EXPECT_TRUE(lines[0]["stages"][0].is_null());
  EXPECT_TRUE(lines[0]["busy"][0].is_null());
  EXPECT_EQ(lines[0]["stages"][1]["work"], 5.0);
  reporter_->finish();
  EXPECT_EQ(records().size(), 1U);
}

TEST_F(RunReporterTest, ARunThatGoesOnCountsWhatWasKept) {
  observe::StageRecord kept_stage;
  kept_stage.work = 12;
  kept_stage.waits.update = 4;
  kept_stage.least_delay = 1;
  kept_stage.most_delay = 1;
  KeptMetrics kept;
  kept.updates = {{.step = 1, .loss = 5, .seconds = 20, .stages = {kept_stage, std::nullopt}},
                  {.step = 2, .loss = observe::undefined, .seconds = 40, .skipped = true}};
  kept.evaluations = {{.step = 1, .val_loss = 4.5, .seconds = 23, .duration = 3},
                      {.step = 2, .val_loss = 4.25, .seconds = 45, .duration = 5}};
  start(kept);
  auto summary = reporter_->summary();
  EXPECT_EQ(summary.steps, 2);
  EXPECT_EQ(summary.tokens, 256);
  EXPECT_NEAR(summary.seconds, 37, 1e-9);
  EXPECT_EQ(summary.eval_seconds, 8);
  EXPECT_EQ(summary.skipped, 1);
  EXPECT_EQ(summary.first_skipped, 2);
  EXPECT_EQ(summary.train_loss, 5);
  EXPECT_EQ(summary.val_loss, 4.25);
  EXPECT_TRUE(records().empty());

  reporter_->handle(update_event(2, 3, 10s));
  reporter_->handle(stage_event(0, 2, 5));
  reporter_->handle(stage_event(1, 2, 5));
  const auto lines = records();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["step"], 3);
  EXPECT_EQ(lines[0]["tokens"], 3 * 128);
  EXPECT_NEAR(lines[0]["seconds"].get<double>(), 45 + 10, uncertainty());
  EXPECT_NEAR(lines[0]["busy"][0].get<double>(), 0.5, uncertainty());
  summary = reporter_->summary();
  EXPECT_EQ(summary.steps, 3);
  EXPECT_NEAR(summary.seconds, 55 - 8, uncertainty());
  EXPECT_NEAR(summary.stages[0].busy, 17.0 / 47, uncertainty());
  EXPECT_NEAR(summary.stages[0].waits.update, 4.0 / 47, uncertainty());
  EXPECT_EQ(summary.stages[0].mean_delay, 0.5);
  EXPECT_EQ(reporter_->losses().size(), 3U);
  EXPECT_NE(console_.str().find("skipped 1"), std::string::npos) << console_.str();
}

TEST_F(RunReporterTest, ProgressIsShown) {
  update(0, 5.25, 10s);
  evaluation(1, 4.5, 12s);
  EXPECT_NE(console_.str().find("loss 5.25"), std::string::npos) << console_.str();
  EXPECT_NE(console_.str().find("val loss 4.5"), std::string::npos) << console_.str();
}

}  // namespace
}  // namespace penstock::train
