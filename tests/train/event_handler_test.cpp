#include "train/event_handler.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "checkpoint/folder.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

using std::chrono::steady_clock;
using support::TemporaryFolder;

/// A run of two stages whose events are made up.
class EventHandlerTest : public testing::Test {
 protected:
  EventHandlerTest()
      : config_(tests::small_config({"train.steps=100", "pipeline.stages=2"})),
        metrics_(folder_ / "metrics.jsonl"),
        progress_(console_, {}, 100) {
    start({});
  }

  void start(const KeptMetrics& kept) {
    handler_.reset();
    saver_.emplace(CheckpointSaver::Setup{
        .writer = {.folder = folder_ / "checkpoints",
                   .stages = 2,
                   .identity = {},
                   .before_publication = [this] { records_at_publication_ = records(); }},
        .on_failure = [] {}});
    reporter_.emplace(config_, RunReporter::Sinks{&metrics_, &progress_}, kept);
    handler_.emplace(*reporter_, *saver_, static_cast<std::int64_t>(kept.updates.size()));
  }

  void update(std::int64_t batch, double loss = 2) {
    handler_->handle(engine::UpdateEvent{.batch = batch, .loss = loss, .at = steady_clock::now()});
  }
  void stage(int number, std::int64_t batch) {
    engine::StageEvent event;
    event.stage = number;
    event.batch = batch;
    handler_->handle(event);
  }
  void evaluation(std::int64_t version) {
    handler_->handle(engine::EvaluationEvent{.version = version,
                                             .loss = 1,
                                             .tokens = config_.model.seq,
                                             .begin = steady_clock::now(),
                                             .at = steady_clock::now()});
  }
  void capture(int number, std::int64_t cut) {
    engine::StageState state{number, cut, {}};
    state.tensors["weights"] = at::full({3}, static_cast<double>(cut));
    handler_->handle(engine::CaptureEvent{std::move(state)});
  }

  /// Lines of metrics.jsonl.
  std::ptrdiff_t records() const {
    const std::string text = folder_.read("metrics.jsonl");
    return std::count(text.begin(), text.end(), '\n');
  }
  std::vector<std::int64_t> saved() {
    saver_->finish();
    std::vector<std::int64_t> cuts;
    for (const auto& entry : checkpoint::list_checkpoints(folder_ / "checkpoints")) {
      cuts.push_back(entry.cut);
    }
    return cuts;
  }

  const TemporaryFolder folder_;
  const config::Config config_;
  std::ostringstream console_;
  observe::MetricsWriter metrics_;
  observe::Progress progress_;
  std::atomic<std::ptrdiff_t> records_at_publication_ = -1;
  std::optional<CheckpointSaver> saver_;
  std::optional<RunReporter> reporter_;
  std::optional<EventHandler> handler_;
};

TEST_F(EventHandlerTest, ACheckpointIsSavedWhenAllStagesHaveTold) {
  stage(0, 0);
  capture(0, 1);
  update(0);
  stage(1, 0);
  capture(1, 1);
  handler_->finish();
  EXPECT_EQ(saved(), std::vector<std::int64_t>{1});
}

TEST_F(EventHandlerTest, AndNotBeforeItsRecordsAreWritten) {
  // Stages that update alone: the update is reported behind the cut.
  stage(1, 0);
  capture(1, 1);
  stage(0, 0);
  capture(0, 1);
  stage(1, 1);
  EXPECT_EQ(records(), 0);
  update(0);
  handler_->finish();
  EXPECT_EQ(saved(), std::vector<std::int64_t>{1});
  EXPECT_GE(records_at_publication_, 1);
}

TEST_F(EventHandlerTest, ARunThatEndsBeforeThatSavesNothing) {
  stage(0, 0);
  capture(0, 1);
  stage(1, 0);
  capture(1, 1);
  handler_->finish();
  EXPECT_TRUE(saved().empty());
}

TEST_F(EventHandlerTest, AnIncompleteCutSavesNothing) {
  stage(0, 0);
  capture(0, 1);
  stage(1, 0);
  update(0);
  handler_->finish();
  EXPECT_TRUE(saved().empty());
  EXPECT_EQ(records(), 1);
}

TEST_F(EventHandlerTest, WhatIsToldAgainIsDropped) {
  KeptMetrics kept;
  for (std::int64_t step = 1; step <= 3; ++step) {
    observe::UpdateRecord record;
    record.step = step;
    record.loss = 5;
    record.busy = {0.5, 0.5};
    kept.updates.push_back(record);
  }
  start(kept);
  update(1);
  evaluation(2);
  update(2);
  EXPECT_EQ(records(), 0);
  evaluation(3);
  stage(0, 3);
  stage(1, 3);
  update(3, 1.5);
  capture(0, 4);
  capture(1, 4);
  handler_->finish();
  EXPECT_EQ(records(), 2);
  EXPECT_EQ(reporter_->losses(), (std::vector<double>{5, 5, 5, 1.5}));
  EXPECT_EQ(saved(), std::vector<std::int64_t>{4});
}

}  // namespace
}  // namespace penstock::train
