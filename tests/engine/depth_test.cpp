// The depth of the pipeline changes nothing: any number of stages, on any number of cores.

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::run_plain_loop;
using tests::small_config;

std::vector<std::string> deep(int stages, const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides{"model.layers=7", "pipeline.micro_batches=16", "train.steps=6",
                                     "train.warmup=2", "pipeline.stages=" + std::to_string(stages)};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}

TEST(Depth, TwoBwHasTheSameBitsOnEveryDepth) {
  for (const auto& more : std::vector<std::vector<std::string>>{
           {"model.tied=true", "optimizer.name=muon", "correction.name=error_feedback"},
           {"train.precision=bf16"}}) {
    const auto reference = run_plain_loop(small_config(deep(1, more)), 1);
    for (const int stages : {1, 2, 3, 4, 8, 16}) {
      SCOPED_TRACE(stages);
      const auto run = run_engine(small_config(deep(stages, more)));
      EXPECT_EQ(run.losses, reference.losses);
      EXPECT_EQ(run.norms, reference.norms);
      EXPECT_EQ(run.hash(), reference.hash());
    }
  }
}

TEST(Depth, SixtyFourStagesShareTheCores) {
  const std::vector<std::string> model{"model.layers=31",
                                       "model.width=8",
                                       "model.heads=2",
                                       "model.kv_heads=1",
                                       "model.ff=12",
                                       "model.seq=4",
                                       "pipeline.micro_batches=64",
                                       "pipeline.micro_batch=1",
                                       "train.steps=3",
                                       "train.warmup=1"};
  auto on = [&](const std::string& stages, const std::string& schedule) {
    auto overrides = model;
    overrides.push_back("pipeline.stages=" + stages);
    overrides.push_back("pipeline.schedule=" + schedule);
    return small_config(overrides);
  };
  EXPECT_EQ(run_engine(on("64", "2bw")).hash(), run_engine(on("1", "2bw")).hash());
  EXPECT_EQ(run_engine(on("64", "1f1b")).hash(), run_engine(on("1", "1f1b")).hash());
  EXPECT_EQ(run_engine(on("64", "2bw-ahead")).hash(), run_engine(on("1", "2bw")).hash());
}

TEST(Depth, UnequalPartsGivenByHandChangeNothing) {
  // Embedding, 7 attention and 7 MLP units, head.
  const auto even = run_engine(small_config(deep(4)));
  const auto uneven = small_config(deep(4, {"pipeline.partition=[1, 2, 12, 1]"}));
  const auto other = small_config(deep(4, {"pipeline.partition=[9, 1, 1, 5]"}));
  EXPECT_EQ(run_engine(uneven).hash(), even.hash());
  EXPECT_EQ(run_engine(other).hash(), even.hash());
}

TEST(Depth, RandomDelaysBeforeEveryActionChangeNoBit) {
  const std::vector<std::string> more{"model.tied=true", "correction.name=error_feedback",
                                      "pipeline.micro_batches=4"};
  const auto c = small_config(deep(4, more));
  const auto expected = run_plain_loop(c, 1).hash();
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::vector<std::mt19937> random;
    for (unsigned s = 0; s < 4; ++s) random.emplace_back(97 * seed + s);
    const auto run = run_engine(c, {.before_action = [&](int stage, const schedule::Action&) {
                                  auto& own = random[static_cast<std::size_t>(stage)];
                                  const auto delay = own() % 16 == 0 ? own() % 2000 : own() % 50;
                                  std::this_thread::sleep_for(std::chrono::microseconds(delay));
                                }});
    EXPECT_EQ(run.hash(), expected) << seed;
  }
}

}  // namespace
}  // namespace penstock::engine
