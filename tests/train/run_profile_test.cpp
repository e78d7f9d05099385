#include "train/run_profile.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace penstock::train {
namespace {

config::Config config_of(int stages, std::int64_t updates) {
  config::Config config;
  config.pipeline.stages = stages;
  config.train.steps = updates;
  config.train.threads = 1;
  return config;
}

std::string complaint(const config::Config& config, std::int64_t cut) {
  try {
    check_profile(config, cut);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(RunProfile, NeedsFiveUpdatesOnTheProcessor) {
  EXPECT_EQ(complaint(config_of(1, 5), 0), "");
  EXPECT_EQ(complaint(config_of(1, 9), 4), "");
  EXPECT_EQ(complaint(config_of(1, 9), 5),
            "[profile] --profile leaves out the first 2 and the last 2 updates, so it needs 5, but "
            "the run has 4 left; leave --profile out or train longer");
  auto config = config_of(1, 5);
  config.train.device = config::DeviceKind::cuda;
  EXPECT_EQ(complaint(config, 0),
            "[profile] --profile times operations on the processor, but train.device = \"cuda\"; "
            "leave --profile out or set train.device = \"cpu\"");
}

TEST(RunProfile, IsNoneWhereAStageIsMissing) {
  EXPECT_FALSE(run_profile({{.stage = 1, .updates = 1, .seconds = 1}}, config_of(2, 9), 2));
}

TEST(RunProfile, EvaluationsAreNoPartOfAStepAndWaitsKeepTheirCauses) {
  const engine::StageProfile stage{.stage = 0,
                                   .updates = 2,
                                   .seconds = 10,
                                   .usage = {.work = 0.5,
                                             .evaluation = 3,
                                             .wait_activation = 0.25,
                                             .wait_gradient = 0.5,
                                             .wait_update = 0.75,
                                             .transfer = 1,
                                             .blocked = 1.25},
                                   .waited_for_core = 1.5};
  const auto profile = run_profile({stage}, config_of(1, 9), 1).value();
  EXPECT_EQ(profile.step_seconds, 3.5);
  std::vector<double> waits;
  for (const auto& row : profile.rows) waits.push_back(row.seconds);
  EXPECT_EQ(waits, (std::vector<double>{0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875}));
  EXPECT_EQ(profile.bounds.conditions, "fp32, 1 thread");
  EXPECT_GT(profile.bounds.flops_per_s, 0);
  EXPECT_GT(profile.bounds.bytes_per_s, 0);
}

}  // namespace
}  // namespace penstock::train
