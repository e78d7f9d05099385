// A batch with something that is not finite: its update is skipped, and the run goes on.

#include <gtest/gtest.h>

#include <limits>

#include "engine/pure/fake_run.h"

namespace penstock::tests {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t batches = 8;

FakeRun run_of(const char* schedule) {
  const int chunks = schedule::find(schedule).default_chunks;
  return {.schedule = schedule,
          .shape = {3, 3, chunks},
          .batches = batches,
          .evaluation = {.every = 2, .micro_batches = 1}};
}

TEST(Skips, OneStageMakesAllOfThemSkipThatUpdateAndNoOther) {
  for (const auto* name : {"1f1b", "2bw", "zb-v", "gpipe"}) {
    FakeRun run = run_of(name);
    const auto undisturbed = run_fake(run);
    for (int layer = 0; layer < run.model().layers; ++layer) {
      for (std::int64_t batch = 0; batch < batches; ++batch) {
        run.poisons = {{.batch = batch, .layer = layer}};
        const auto result = run_fake(run);
        EXPECT_EQ(result, plain_loop(run)) << text(run) << ", batch " << batch;
        for (const auto& skipped : result.skipped) {
          EXPECT_EQ(skipped, std::vector<std::int64_t>{batch});
        }
        EXPECT_NE(result.weights, undisturbed.weights);
      }
    }
  }
}

TEST(Skips, WhateverItIsThatIsNotFinite) {
  for (const auto* name : {"1f1b", "2bw", "zb-v"}) {
    FakeRun run = run_of(name);
    using In = Poison::In;
    for (const auto in : {In::gradient, In::loss, In::tied_input, In::tied_output}) {
      for (const double value : {infinity, -infinity, std::nan("")}) {
        run.poisons = {{.batch = 3, .layer = 1, .in = in, .value = value}};
        const auto result = run_fake(run);
        EXPECT_EQ(result, plain_loop(run)) << text(run) << ", " << value;
        EXPECT_EQ(result.skipped[1], std::vector<std::int64_t>{3});
        EXPECT_EQ(result.weights.tied_input, result.weights.tied_output);
      }
    }
  }
}

TEST(Skips, SeveralInARow) {
  for (const auto& schedule : schedule::registry()) {
    FakeRun run = run_of(schedule.name.c_str());
    run.poisons = {{.batch = 2, .layer = 0}, {.batch = 3, .layer = 2}, {.batch = 4, .layer = 1}};
    EXPECT_EQ(run_fake(run), plain_loop(run)) << text(run);
  }
}

/// Where the delay ends and begins, a skipped version is read by other batches than usual.
TEST(Skips, AroundPhasesWithoutDelay) {
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    FakeRun run = run_of("2bw");
    run.sync = 2;
    run.final_begin = 5;
    run.poisons = {{.batch = batch, .layer = 1}};
    EXPECT_EQ(run_fake(run), plain_loop(run)) << "batch " << batch;
  }
}

TEST(Skips, AStageThatUpdatesAloneRefusesWhatItSeesItself) {
  for (const auto* name : {"pipedream", "paci"}) {
    FakeRun run = run_of(name);
    run.layers = 3;  // one on each stage
    for (int stage = 0; stage < 3; ++stage) {
      for (std::int64_t batch = 0; batch < batches; ++batch) {
        run.poisons = {{.batch = batch, .layer = stage}};
        const auto result = run_fake(run);
        EXPECT_EQ(result, plain_loop(run)) << text(run) << ", batch " << batch;
        for (int s = 0; s < 3; ++s) {
          const auto& skipped = result.skipped[static_cast<std::size_t>(s)];
          EXPECT_EQ(skipped.size(), s == stage ? 1U : 0U) << "stage " << s;
        }
      }
    }
  }
}

TEST(Skips, EveryUpdate) {
  FakeRun run = run_of("2bw");
  for (std::int64_t batch = 0; batch < batches; ++batch) run.poisons.push_back({.batch = batch});
  const auto weights = run_fake(run).weights;
  for (int layer = 0; layer < run.model().layers; ++layer) {
    EXPECT_EQ(weights.layers[static_cast<std::size_t>(layer)], first_weight(layer));
  }
}

}  // namespace
}  // namespace penstock::tests
