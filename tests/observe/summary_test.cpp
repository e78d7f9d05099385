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
  summary.busy_fraction = {0.5, 0.98125};
  summary.peak_rss_bytes = std::int64_t{412} << 20;
  summary.weights_hash = "0123456789abcdef";
  summary.run_dir = "runs/quickstart";
  return summary;
}

TEST(SummaryJson, KeysAndValues) {
  const nlohmann::json json = to_json(example());
  std::set<std::string> keys;
  for (const auto& item : json.items()) keys.insert(item.key());
  EXPECT_EQ(keys,
            (std::set<std::string>{"steps", "tokens", "seconds", "tokens_per_s", "train_loss",
                                   "val_loss", "busy_fraction", "peak_rss_bytes", "weights_hash",
                                   "eval_seconds", "interrupted", "run_dir"}));
  EXPECT_EQ(json["steps"], 300);
  EXPECT_EQ(json["tokens"], 1'228'800);
  EXPECT_EQ(json["seconds"], 184.5);
  EXPECT_EQ(json["eval_seconds"], 4.0);
  EXPECT_EQ(json["tokens_per_s"], 1'228'800 / 184.5);
  EXPECT_EQ(json["train_loss"], 1.0 / 3);
  EXPECT_EQ(json["val_loss"], 2.5);
  EXPECT_EQ(json["busy_fraction"], nlohmann::json::parse("[0.5, 0.98125]"));
  EXPECT_EQ(json["peak_rss_bytes"], 432013312);
  EXPECT_EQ(json["weights_hash"], "0123456789abcdef");
  EXPECT_EQ(json["interrupted"], false);
  EXPECT_EQ(json["run_dir"], "runs/quickstart");
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
            "  stage 0       ▕██████████          ▏ 50.0 % busy\n"
            "  stage 1       ▕███████████████████▋▏ 98.1 % busy\n"
            "  peak memory   412 MiB\n"
            "  weights hash  0123456789abcdef\n"
            "  run folder    runs/quickstart\n");
}

TEST(SummaryText, AnInterruptedRunWithoutLosses) {
  RunSummary summary = example();
  summary.interrupted = true;
  summary.train_loss.reset();
  summary.val_loss.reset();
  summary.busy_fraction.clear();
  summary.peak_rss_bytes = (std::int64_t{3} << 30) / 2;
  EXPECT_EQ(to_text(summary),
            "Interrupted after 300 updates, 1.23M tokens in 3m 05s (6.66k tokens/s)\n"
            "  peak memory   1.50 GiB\n"
            "  weights hash  0123456789abcdef\n"
            "  run folder    runs/quickstart\n");
}

TEST(SummaryText, BarsStayInside) {
  RunSummary summary = example();
  summary.busy_fraction = {0, 1, 1.02, -0.1};
  const std::string text = to_text(summary);
  EXPECT_NE(text.find("▕                    ▏ 0.0 % busy"), std::string::npos) << text;
  EXPECT_NE(text.find("▕████████████████████▏ 100.0 % busy"), std::string::npos) << text;
  EXPECT_NE(text.find("▕████████████████████▏ 102.0 % busy"), std::string::npos) << text;
  EXPECT_NE(text.find("▕                    ▏ -10.0 % busy"), std::string::npos) << text;
}

}  // namespace
}  // namespace penstock::observe
