#include "observe/summary.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace penstock::observe {
namespace {

RunSummary example() {
  RunSummary summary;
  summary.steps = 300;
  summary.tokens = 1'228'800;
  summary.seconds = 184.5;
  summary.eval_seconds = 4;
  summary.tokens_per_s = 1'228'800 / 184.5;
  summary.train_loss = 1.0 / 3;
  summary.val_loss = 2.5;
  summary.stages = {{.busy = 0.5,
                     .waits = {.activation = 0,
                               .gradient = 0.25,
                               .update = 0.125,
                               .transfer = 0.0625,
                               .blocked = 0.03125,
                               .core = 0.01},
                     .idle = 0.02125,
                     .mean_delay = 0.995,
                     .least_delay = 0,
                     .most_delay = 1},
                    {.busy = 1}};
  summary.peak_rss_bytes = std::int64_t{412} << 20;
  summary.weights_hash = "0123456789abcdef";
  summary.run_dir = "runs/quickstart";
  return summary;
}

TEST(SummaryJson, KeysAndValues) {
  const nlohmann::json json = to_json(example());
  std::set<std::string> keys;
  for (const auto& item : json.items()) keys.insert(item.key());
  EXPECT_EQ(keys, (std::set<std::string>{"steps", "tokens", "seconds", "tokens_per_s", "train_loss",
                                         "val_loss", "busy_fraction", "peak_rss_bytes",
                                         "weights_hash", "eval_seconds", "interrupted", "run_dir",
                                         "skipped", "first_skipped", "stages"}));
  EXPECT_EQ(json["steps"], 300);
  EXPECT_EQ(json["tokens"], 1'228'800);
  EXPECT_EQ(json["seconds"], 184.5);
  EXPECT_EQ(json["eval_seconds"], 4.0);
  EXPECT_EQ(json["tokens_per_s"], 1'228'800 / 184.5);
  EXPECT_EQ(json["train_loss"], 1.0 / 3);
  EXPECT_EQ(json["val_loss"], 2.5);
  EXPECT_EQ(json["busy_fraction"], nlohmann::json::parse("[0.5, 1.0]"));
  EXPECT_EQ(json["peak_rss_bytes"], 432013312);
  EXPECT_EQ(json["weights_hash"], "0123456789abcdef");
  EXPECT_EQ(json["interrupted"], false);
  EXPECT_EQ(json["run_dir"], "runs/quickstart");
  EXPECT_EQ(json["skipped"], 0);
  EXPECT_TRUE(json["first_skipped"].is_null());
  EXPECT_EQ(json["stages"], nlohmann::json::parse(R"([
      {"busy": 0.5,
       "waits": {"activation": 0.0, "gradient": 0.25, "update": 0.125, "transfer": 0.0625,
                 "blocked": 0.03125, "core": 0.01, "idle": 0.02125},
       "delay": {"mean": 0.995, "least": 0, "most": 1}},
      {"busy": 1.0,
       "waits": {"activation": 0.0, "gradient": 0.0, "update": 0.0, "transfer": 0.0,
                 "blocked": 0.0, "core": 0.0, "idle": 0.0},
       "delay": null}])"));
}

TEST(SummaryJson, SkippedUpdates) {
  RunSummary summary = example();
  summary.skipped = 3;
  summary.first_skipped = 17;
  EXPECT_EQ(to_json(summary)["skipped"], 3);
  EXPECT_EQ(to_json(summary)["first_skipped"], 17);
}

TEST(SummaryJson, MissingLossesAreNull) {
  RunSummary summary = example();
  summary.train_loss.reset();
  summary.val_loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(to_json(summary)["train_loss"].is_null());
  EXPECT_TRUE(to_json(summary)["val_loss"].is_null());
}

TEST(SummaryText, AFinishedRun) {
  EXPECT_EQ(to_text(example()),
            "Finished 300 updates, 1.23M tokens in 3m 05s (6.66k tokens/s)\n"
            "  train loss    0.3333\n"
            "  val loss      2.5000  (evaluations took 4s)\n"
            "  peak memory   412 MiB\n"
            "  weights hash  0123456789abcdef\n"
            "  run folder    runs/quickstart\n"
            "  stage    busy  activ.   grad.  update transf. blocked    core    idle   delay\n"
            "      0   50.0%    0.0%   25.0%   12.5%    6.2%    3.1%    1.0%    2.1%    0.99\n"
            "      1  100.0%    0.0%    0.0%    0.0%    0.0%    0.0%    0.0%    0.0%       -\n");
}

TEST(SummaryText, SkippedUpdates) {
  RunSummary summary = example();
  summary.skipped = 3;
  summary.first_skipped = 17;
  EXPECT_NE(to_text(summary).find(
                "\n  skipped       3 updates for a NaN or an infinity, the first at step 17\n"),
            std::string::npos)
      << to_text(summary);
  summary.skipped = 1;
  EXPECT_NE(to_text(summary).find("skipped       1 update for a NaN"), std::string::npos);
}

TEST(SummaryText, AnInterruptedRunWithoutLosses) {
  RunSummary summary = example();
  summary.interrupted = true;
  summary.train_loss.reset();
  summary.val_loss.reset();
  summary.stages.clear();
  summary.peak_rss_bytes = (std::int64_t{3} << 30) / 2;
  EXPECT_EQ(to_text(summary),
            "Interrupted after 300 updates, 1.23M tokens in 3m 05s (6.66k tokens/s)\n"
            "  peak memory   1.50 GiB\n"
            "  weights hash  0123456789abcdef\n"
            "  run folder    runs/quickstart\n");
}

}  // namespace
}  // namespace penstock::observe
