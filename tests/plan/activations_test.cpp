#include "plan/activations.h"

#include <gtest/gtest.h>

#include "plan/example.h"

namespace penstock::plan {
namespace {

// Bytes per token of the tiny model (example.h). Saved: attention 172, MLP 212, head 68. At the
// peak of its backward a unit needs beside them: embedding 32, attention 192, MLP 240, head 64 and
// 64 for logits, which a split backward holds until dW.
constexpr double tokens = 4;
constexpr double numbers = 16;

PieceBytes whole_model(Recompute recompute) {
  auto one = candidate("1f1b", {1, 8, 1}, {4});
  one.recompute = recompute;
  return piece_bytes(tiny(), one, 0, 0);
}

TEST(PieceBytesTest, AJointBackwardFreesUnitByUnit) {
  const auto bytes = whole_model(Recompute::none);
  EXPECT_EQ(bytes.kept, tokens * (172 + 212 + 68 + numbers));
  // The MLP's turn: more than the head's, 452 + 128.
  EXPECT_EQ(bytes.backward, tokens * (172 + 212 + 240 + numbers));
}

TEST(PieceBytesTest, AnInputGradientLeavesWhatTheWeightsNeed) {
  const auto bytes = whole_model(Recompute::none);
  EXPECT_EQ(bytes.held, tokens * (32 + 172 + 212 + (68 + 64) + numbers));
  EXPECT_EQ(bytes.input_gradient, tokens * (172 + 212 + (68 + 64) + 240 + numbers));
}

TEST(PieceBytesTest, WhatIsComputedAgainIsThereInTheBackward) {
  for (const auto recompute : {Recompute::block, Recompute::stage}) {
    const auto bytes = whole_model(recompute);
    EXPECT_EQ(bytes.kept, tokens * (68 + numbers));
    EXPECT_EQ(bytes.held, whole_model(Recompute::none).held);
    EXPECT_EQ(bytes.backward, whole_model(Recompute::none).backward);
  }
}

TEST(PieceBytesTest, ABlockAtATimeIsLessThanAStage) {
  auto workload = tiny();
  workload.model.layers = 3;
  workload = make_workload(workload);
  auto one = candidate("1f1b", {2, 8, 1}, {3, 5});
  one.recompute = Recompute::block;
  const auto block = piece_bytes(workload, one, 1, 0);
  EXPECT_EQ(block.kept, tokens * (2 * 32 + 68 + numbers));
  EXPECT_EQ(block.backward, tokens * (32 + 172 + 212 + 240 + numbers));
  one.recompute = Recompute::stage;
  const auto stage = piece_bytes(workload, one, 1, 0);
  EXPECT_EQ(stage.kept, tokens * (32 + 68 + numbers));
  EXPECT_EQ(stage.backward, tokens * (2 * (172 + 212) + 240 + numbers));
}

TEST(StageActivationsTest, OfTheScheduleLimits) {
  const auto two = candidate("2bw", {2, 8, 1}, {2, 2});
  const auto all = activations_of(tiny(), two, 0);
  EXPECT_EQ(all.most, 2 * tokens * (172 + numbers));
  EXPECT_EQ(all.during_backward, all.most + tokens * 192);
  EXPECT_EQ(all.at_update, all.most / 2);
  EXPECT_FALSE(follows_order(two));
}

// Stage 1 of two holds one dW back while the last micro-batch has its F and dX
// (schedule/zb_h1.cpp).
TEST(StageActivationsTest, BetweenInputAndWeightGradientsAllIsThereAgain) {
  auto two = candidate("zb-h1", {2, 8, 1}, {2, 2});
  two.recompute = Recompute::stage;
  ASSERT_TRUE(follows_order(two));
  const auto all = activations_of(tiny(), two, 1);
  const double held = tokens * (212 + 132 + numbers);
  EXPECT_EQ(all.most, 2 * held);
  EXPECT_EQ(all.during_backward, held + tokens * (212 + 132 + 240 + numbers));
  EXPECT_EQ(all.at_update, 0);
  // A batch is long enough to be cut short.
  two.shape.micro_batches = 4000;
  EXPECT_EQ(activations_of(tiny(), two, 1).most, 2 * held);
}

// With everything kept, the order of the actions says the same as the limits.
TEST(StageActivationsTest, InFlightIsWhatTheSchedulePromises) {
  for (const auto& schedule : schedule::registry()) {
    const int chunks = schedule.default_chunks;
    const auto counts =
        chunks == 2 ? std::vector<std::int64_t>{1, 1, 1, 1} : std::vector<std::int64_t>{2, 2};
    const auto one = candidate(schedule.name.c_str(), {2, 8, chunks}, counts);
    for (int s = 0; s < 2; ++s) {
      double mean = 0;
      for (int c = 0; c < chunks; ++c) mean += piece_bytes(tiny(), one, s, c).kept / chunks;
      EXPECT_EQ(activations_of(tiny(), one, s).most, schedule.limits(s, one.shape).in_flight * mean)
          << schedule.name;
    }
  }
}

}  // namespace
}  // namespace penstock::plan
