#include "train/run_reporter.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "schedule/action.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

using namespace std::chrono_literals;
using schedule::ActionKind;
using std::chrono::steady_clock;

/// A reporter with two stages' clocks, fed with events at made-up times after its start.
class RunReporterTest : public testing::Test {
 protected:
  RunReporterTest()
      : config_(tests::small_config({"train.steps=100"})),
        clocks_(2),
        metrics_(folder_ / "metrics.jsonl"),
        progress_(console_, {}, 100),
        before_(steady_clock::now()),
        reporter_(config_, clocks_, {&metrics_, &progress_}),
        after_(steady_clock::now()) {}

  void update(std::int64_t batch, double loss, steady_clock::duration at) {
    reporter_.handle(engine::UpdateEvent{.batch = batch,
                                         .loss = loss,
                                         .gradient_norm = 2,
                                         .clip_factor = 0.25,
                                         .lr = 1e-3,
                                         .at = before_ + at});
    updated_ = before_ + at;
  }

  /// Begins with the update before it.
  void evaluation(std::int64_t version, double loss, steady_clock::duration at) {
    reporter_.handle(engine::EvaluationEvent{.version = version,
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
  std::deque<engine::StageClock> clocks_;
  observe::MetricsWriter metrics_;
  std::ostringstream console_;
  observe::Progress progress_;
  const steady_clock::time_point before_;
  steady_clock::time_point updated_ = before_;
  RunReporter reporter_;
  const steady_clock::time_point after_;
};

TEST_F(RunReporterTest, WithoutEventsThereIsNothingToSum) {
  const auto summary = reporter_.summary();
  EXPECT_EQ(summary.steps, 0);
  EXPECT_EQ(summary.tokens, 0);
  EXPECT_EQ(summary.seconds, 0);
  EXPECT_EQ(summary.tokens_per_s, 0);
  EXPECT_FALSE(summary.train_loss);
  EXPECT_FALSE(summary.val_loss);
  EXPECT_EQ(summary.busy_fraction, (std::vector<double>{0, 0}));
  EXPECT_TRUE(reporter_.losses().empty());
}

TEST_F(RunReporterTest, TimesAreThoseOfTheEventsWithoutEvaluations) {
  update(0, 5, 10s);
  update(1, 4, 20s);
  evaluation(2, 4.5, 23s);
  update(2, 3, 33s);
  update(3, 2, 43s);
  evaluation(4, 2.5, 50s);
  const auto summary = reporter_.summary();
  EXPECT_EQ(summary.steps, 4);
  EXPECT_EQ(summary.tokens, 4 * 4 * 2 * 16);
  // 43 s until the last update, 3 of them evaluation; the last evaluation lies behind it.
  EXPECT_NEAR(summary.seconds, 40, uncertainty());
  EXPECT_NEAR(summary.eval_seconds, 3 + 7, 1e-9);
  EXPECT_NEAR(summary.tokens_per_s, 512 / summary.seconds, 1e-9);
  EXPECT_EQ(summary.train_loss, 2);
  EXPECT_EQ(summary.val_loss, 2.5);
  EXPECT_EQ(reporter_.losses(), (std::vector<double>{5, 4, 3, 2}));
}

TEST_F(RunReporterTest, BusyIsWorkAloneOverTheTimeOfTraining) {
  clocks_[0].add(ActionKind::forward, 20s);
  clocks_[0].add(ActionKind::backward, 10s);
  clocks_[0].add(ActionKind::update, 2s);
  clocks_[0].add(ActionKind::receive_gradient, 1000s);
  clocks_[0].add(ActionKind::await_reduction, 1000s);
  clocks_[0].add(ActionKind::evaluate, 1000s);
  clocks_[1].add(ActionKind::forward, 100s);
  update(0, 5, 20s);
  evaluation(1, 5, 30s);
  update(1, 5, 50s);
  const auto busy = reporter_.summary().busy_fraction;
  ASSERT_EQ(busy.size(), 2U);
  EXPECT_NEAR(busy[0], 32.0 / 40.0, uncertainty());
  EXPECT_EQ(busy[1], 1);  // never more than all the time
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

TEST_F(RunReporterTest, BusyOfARecordIsTheWorkSinceTheLastOne) {
  clocks_[0].add(ActionKind::forward, 1000s);
  update(0, 5, 10s);
  update(1, 5, 20s);
  clocks_[1].add(ActionKind::forward, 1000s);
  evaluation(2, 5, 30s);  // takes the work before it out of the next record
  update(2, 5, 40s);
  const auto lines = records();
  EXPECT_EQ(lines[0]["busy"], (std::vector<double>{1, 0}));
  EXPECT_EQ(lines[1]["busy"], (std::vector<double>{0, 0}));
  EXPECT_EQ(lines[3]["busy"], (std::vector<double>{0, 0}));
}

TEST_F(RunReporterTest, ProgressIsShown) {
  update(0, 5.25, 10s);
  evaluation(1, 4.5, 12s);
  EXPECT_NE(console_.str().find("loss 5.25"), std::string::npos) << console_.str();
  EXPECT_NE(console_.str().find("val loss 4.5"), std::string::npos) << console_.str();
}

}  // namespace
}  // namespace penstock::train
