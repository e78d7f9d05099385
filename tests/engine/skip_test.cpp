// A NaN anywhere makes every stage skip the update, and the run goes on.

#include <gtest/gtest.h>

#include <cmath>

#include "engine/executor.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::Place;
using tests::poisoned;
using tests::random_tokens;
using tests::run_engine;
using tests::run_plain_loop;
using tests::RunResult;
using tests::small_config;

void expect_same_bits(const RunResult& a, const RunResult& b) {
  EXPECT_EQ(a.losses, b.losses);
  ASSERT_EQ(a.norms.size(), b.norms.size());
  for (std::size_t i = 0; i < a.norms.size(); ++i) {
    EXPECT_TRUE(a.norms[i] == b.norms[i] || (std::isnan(a.norms[i]) && std::isnan(b.norms[i])));
  }
  EXPECT_EQ(a.skipped, b.skipped);
  EXPECT_EQ(a.hash(), b.hash());
}

const std::set<Place> first_two_in_a_row_and_last{{0, 1}, {7, 3}, {8, 0}, {23, 2}};

TEST(Skip, ThePoisonedUpdatesAreLeftOutAndNothingElse) {
  for (const auto& [schedule, delay] :
       std::vector<std::pair<std::string, int>>{{"2bw", 1}, {"1f1b", 0}, {"zb-h1", 0}}) {
    for (const char* const precision : {"fp32", "bf16"}) {
      for (const int stages : {1, 3}) {
        SCOPED_TRACE(testing::Message() << schedule << " " << precision << " d=" << stages);
        const auto c = small_config({"pipeline.schedule=" + schedule, "model.tied=true",
                                     std::string("train.precision=") + precision,
                                     "pipeline.stages=" + std::to_string(stages),
                                     "correction.name=error_feedback"});
        const auto source = poisoned(random_tokens(c), first_two_in_a_row_and_last);
        const auto run = run_engine(c, {.source = source});
        EXPECT_EQ(run.skipped, (std::vector<std::int64_t>{0, 7, 8, 23}));
        expect_same_bits(run, run_plain_loop(c, delay, source));
        EXPECT_NE(run.hash(), run_engine(c).hash());
        for (const auto& tensor : run.weights)
          EXPECT_TRUE(at::isfinite(tensor.second).all().item<bool>());
      }
    }
  }
}

TEST(Skip, StagesThatUpdateAloneRefuseWhatTheySee) {
  for (const char* const schedule : {"pipedream", "paci"}) {
    SCOPED_TRACE(schedule);
    const auto c = small_config(
        {std::string("pipeline.schedule=") + schedule, "pipeline.stages=3", "train.clip=0"});
    const auto run =
        run_engine(c, {.source = poisoned(random_tokens(c), first_two_in_a_row_and_last)});
    EXPECT_EQ(run.skipped, (std::vector<std::int64_t>{0, 7, 8, 23}));
    EXPECT_EQ(run.losses.size(), 24U);
    for (const auto& [name, tensor] : run.weights) {
      EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
    }
  }
}

TEST(Skip, TheLimitInARowEndsTheRun) {
  const auto c = small_config({"pipeline.stages=2", "train.skip_limit=3"});
  const auto source = [&](std::set<Place> places) {
    return tests::RunOptions{.source = poisoned(random_tokens(c), std::move(places))};
  };
  EXPECT_EQ(run_engine(c, source({{4, 0}, {5, 0}, {7, 1}, {8, 1}})).losses.size(), 24U);
  try {
    run_engine(c, source({{4, 0}, {5, 0}, {7, 1}, {8, 1}, {9, 3}}));
    FAIL();
  } catch (const StageFailure& failure) {
    const std::string text = failure.what();
    EXPECT_NE(text.find("await_reduction of batch 9: 3 updates in a row had to be skipped (now: "
                        "loss 4."),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("gradient norm nan), and train.skip_limit = 3;"), std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace penstock::engine
