#include "plan/predicted_memory.h"

#include <gtest/gtest.h>

#include "plan/example.h"
#include "train/catalogue.h"

namespace penstock::plan {
namespace {

config::Config configured(const std::vector<std::string>& more) {
  std::vector<std::string> settings{"model.layers=1",
                                    "model.width=8",
                                    "model.heads=2",
                                    "model.kv_heads=1",
                                    "model.ff=12",
                                    "model.vocab=300",
                                    "model.seq=4",
                                    "data.train=x.txt",
                                    "train.steps=10",
                                    "train.warmup=1",
                                    "pipeline.stages=2",
                                    "pipeline.micro_batches=8",
                                    "pipeline.partition=[2, 2]"};
  settings.insert(settings.end(), more.begin(), more.end());
  return config::parse("", "none", settings, train::catalogue());
}

TEST(PredictedMemory, IsThatOfThePlannedStage) {
  const auto config = configured({"pipeline.schedule=2bw", "pipeline.micro_batch=2",
                                  "pipeline.recompute=block", "optimizer.name=adamw"});
  auto planned = candidate("2bw", {2, 8, 1}, {2, 2}, 1, 2);
  planned.recompute = Recompute::block;
  auto workload = tiny(16);
  workload.model.vocab = 300;
  // Two tensors and two numbers.
  workload.state.bytes = [](const model::Parameter& parameter) {
    return 8.0 * static_cast<double>(parameter.count()) + 2 * 8;
  };
  workload = make_workload(workload);
  for (const int stage : {0, 1}) {
    const auto expected = memory_of(workload, planned, stage);
    const auto actual = predicted_memory(config, stage);
    EXPECT_EQ(actual.total(), expected.total());
    EXPECT_EQ(actual.activations, expected.activations);
    EXPECT_EQ(actual.optimizer, expected.optimizer);
  }
}

TEST(PredictedMemory, CountsTheStateOfOptimizerAndCorrection) {
  const auto base = predicted_memory(configured({"optimizer.name=adamw"}), 0);
  const auto more =
      predicted_memory(configured({"optimizer.name=muon", "correction.name=error_feedback"}), 0);
  // Muon: one tensor of the 192 weights in four matrices instead of two, and none of their two
  // numbers; one of the correction for all 2600.
  EXPECT_EQ(more.optimizer - base.optimizer, 4 * (2600 - 192) - 4 * 2 * 8);
}

}  // namespace
}  // namespace penstock::plan
