// A run that goes on from a cut is the run that never stopped, bit for bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "engine/executor.h"
#include "schedule/schedule.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::RunResult;
using tests::small_config;

struct Case {
  std::string name;
  std::vector<std::string> overrides;
};

/// Every schedule in a shape with several micro-batches in flight, and what lies in the state
/// beside the weights: two optimizers, a correction, bf16 copies, tied gradients, phases.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& schedule : schedule::registry()) {
    Case c{schedule.name, {"pipeline.schedule=" + schedule.name, "pipeline.stages=3"}};
    c.overrides.push_back(schedule.name == "interleaved" ? "pipeline.micro_batches=6"
                                                         : "pipeline.micro_batches=4");
    if (schedule.default_chunks > 1) {
      c.overrides.push_back("pipeline.stages=2");
      c.overrides.push_back("pipeline.micro_batches=4");
    }
    if (!schedule.updates_together) c.overrides.push_back("train.clip=0");
    all.push_back(std::move(c));
  }
  const std::vector<std::string> two_bw{"pipeline.stages=3", "pipeline.micro_batches=4"};
  const auto add = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), two_bw.begin(), two_bw.end());
    all.push_back({name, std::move(more)});
  };
  add("muon with feedback, tied",
      {"optimizer.name=muon", "correction.name=error_feedback", "model.tied=true"});
  add("bf16", {"train.precision=bf16", "correction.name=error_feedback"});
  add("phases", {"pipeline.sync_steps=6", "pipeline.final_sync_steps=7"});
  add("recomputed", {"pipeline.recompute=block"});
  add("one stage", {"pipeline.stages=1"});
  return all;
}

std::vector<double> behind(const std::vector<double>& values, std::int64_t first) {
  return {values.begin() + first, values.end()};
}

/// Those of W(version) and later.
std::vector<std::pair<std::int64_t, double>> evaluations_behind(const RunResult& run,
                                                                std::int64_t version) {
  std::vector<std::pair<std::int64_t, double>> result;
  for (const auto& evaluation : run.evaluations) {
    if (evaluation.version >= version) result.emplace_back(evaluation.version, evaluation.loss);
  }
  return result;
}

class Capture : public testing::TestWithParam<Case> {
 protected:
  config::Config config(std::vector<std::string> more = {}) const {
    auto overrides = GetParam().overrides;
    for (const char* const common : {"train.steps=20", "train.eval_every=3"}) {
      overrides.emplace_back(common);
    }
    overrides.insert(overrides.end(), more.begin(), more.end());
    return small_config(overrides);
  }
};

TEST_P(Capture, DoesNotDisturbTheRun) {
  const auto with = run_engine(config({"output.save_every=1"}), {.validation_micro_batches = 3});
  const auto without = run_engine(config(), {.validation_micro_batches = 3});
  EXPECT_EQ(with.hash(), without.hash());
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_TRUE(without.captures.empty());
  EXPECT_GE(with.captures.size(), 17U);
  for (const auto& [cut, states] : with.captures) {
    for (const auto& state : states) EXPECT_EQ(state.cut, cut) << "a stage is missing";
  }
}

TEST_P(Capture, GoesOnFromEveryCutWithTheSameBits) {
  const auto c = config({"output.save_every=1"});
  const auto whole = run_engine(c, {.validation_micro_batches = 3});
  for (const auto& [cut, states] : whole.captures) {
    SCOPED_TRACE(cut);
    const auto rest = run_engine(c, {.validation_micro_batches = 3, .restore = states});
    EXPECT_EQ(rest.hash(), whole.hash());
    // Where updates are reported late, some of those before the cut are still to come.
    ASSERT_LE(rest.losses.size(), whole.losses.size());
    const auto first = static_cast<std::int64_t>(whole.losses.size() - rest.losses.size());
    EXPECT_LE(first, cut);
    EXPECT_EQ(rest.losses, behind(whole.losses, first));
    EXPECT_EQ(rest.norms, behind(whole.norms, first));
    // That of W(v) comes behind the update to W(v), and behind the capture there.
    EXPECT_EQ(evaluations_behind(rest, 0), evaluations_behind(whole, std::min(first + 1, cut)));
    for (const auto& [later, later_states] : rest.captures) {
      EXPECT_GT(later, cut);
      for (std::size_t s = 0; s < later_states.size(); ++s) {
        const auto& expected = whole.captures.at(later).at(s).tensors;
        ASSERT_EQ(later_states[s].tensors.size(), expected.size());
        for (const auto& [name, tensor] : later_states[s].tensors) {
          EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
        }
      }
    }
  }
}

TEST_P(Capture, AStoppedRunLeavesACutToGoOnFrom) {
  const auto c = config({"output.save_every=1000"});
  const auto whole = run_engine(c);
  EXPECT_TRUE(whole.captures.empty());
  const auto stopped = run_engine(c, {.stop_before = 9});
  ASSERT_EQ(stopped.captures.size(), 1U);
  EXPECT_LT(stopped.losses.size(), whole.losses.size());
  const auto& [cut, states] = *stopped.captures.begin();
  EXPECT_GE(cut, 9);
  EXPECT_EQ(run_engine(c, {.restore = states}).hash(), whole.hash());
}

INSTANTIATE_TEST_SUITE_P(All, Capture, testing::ValuesIn(cases()), [](const auto& test) {
  std::string name = test.param.name;
  std::ranges::replace_if(
      name, [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace penstock::engine
