#include "plan/memory_model.h"

#include <gtest/gtest.h>

#include "plan/example.h"

namespace penstock::plan {
namespace {

// Stage 0: embedding and attention (328 parameters, 172 bytes a token); stage 1: MLP and head
// (432 parameters, 212 + 132). A micro-batch has 4 tokens of 16 bytes of numbers.
Candidate two_stages(const char* schedule, int micro_batches = 8) {
  return candidate(schedule, {2, micro_batches, 1}, {2, 2});
}

TEST(MemoryModelTest, OneForwardOneBackwardByHand) {
  const auto use = memory_of(tiny(), two_stages("1f1b"), 0);
  EXPECT_EQ(use.weights, 328 * 4);
  EXPECT_EQ(use.masters, 0);
  EXPECT_EQ(use.gradients, 328 * 4);
  EXPECT_EQ(use.optimizer, 328 * 8);
  EXPECT_EQ(use.activations, 2 * 4 * (172 + 16));
  EXPECT_EQ(use.working, 4 * 192);  // six gradients of 8 in the attention's backward, one twice 16
  EXPECT_EQ(use.messages, 2 * 4 * 32);  // gradients from stage 1
  EXPECT_EQ(use.all_reduce, 0);
  EXPECT_EQ(use.total(), 1312 + 1312 + 2624 + 1504 + 768 + 256);
}

TEST(MemoryModelTest, TheLastStageKeepsOneMicroBatch) {
  const auto use = memory_of(tiny(), two_stages("1f1b"), 1);
  EXPECT_EQ(use.activations, 1 * 4 * (212 + 68 + 16));
}

TEST(MemoryModelTest, TwoVersionsAndTwoGradientBuffersIn2bw) {
  const auto use = memory_of(tiny(), two_stages("2bw"), 0);
  EXPECT_EQ(use.weights, 2 * 328 * 4);
  EXPECT_EQ(use.gradients, 2 * 328 * 4);
  EXPECT_EQ(use.activations, 2 * 4 * (172 + 16));
}

TEST(MemoryModelTest, GpipeKeepsAllMicroBatches) {
  EXPECT_EQ(memory_of(tiny(), two_stages("gpipe"), 1).activations, 8 * 4 * (212 + 68 + 16));
}

TEST(MemoryModelTest, Bf16HasMasters) {
  auto workload = tiny();
  workload.precision = config::Precision::bf16;
  const auto use = memory_of(make_workload(workload), two_stages("2bw"), 0);
  EXPECT_EQ(use.weights, 2 * 328 * 2);
  EXPECT_EQ(use.masters, 328 * 4);
  EXPECT_EQ(use.gradients, 2 * 328 * 4);
}

TEST(MemoryModelTest, OptimizerStateByKind) {
  auto workload = tiny();
  workload.state.bytes = [](const model::Parameter& parameter) {
    const bool is_matrix = parameter.kind == model::ParameterKind::matrix;
    return (is_matrix ? 8.0 : 12.0) * static_cast<double>(parameter.count());
  };
  const auto use = memory_of(make_workload(workload), two_stages("1f1b"), 0);
  EXPECT_EQ(use.optimizer, 8 * 192 + 12 * 136);
}

TEST(MemoryModelTest, RecomputationKeepsInputs) {
  for (const auto recompute : {Recompute::block, Recompute::stage}) {
    auto two = two_stages("1f1b");
    two.recompute = recompute;
    // Stage 0 begins with the embedding, which has no input: only the numbers are kept.
    EXPECT_EQ(memory_of(tiny(), two, 0).activations, 2 * 4 * 16);
    // In B there are the layer's activations, and its gradients.
    EXPECT_EQ(memory_of(tiny(), two, 0).working, 4 * (172 + 192));
    // Stage 1 begins in the middle of the layer, and the head keeps all it saves.
    EXPECT_EQ(memory_of(tiny(), two, 1).activations, 1 * 4 * (32 + 68 + 16));
    EXPECT_EQ(memory_of(tiny(), two, 1).working, 4 * (212 + 240 - 32 - 68));
  }
}

TEST(MemoryModelTest, AnUpdateWorksBesideWhatIsInFlightThen) {
  auto workload = tiny();
  workload.model.vocab = 160;
  workload = make_workload(workload);
  // 1f1b has nothing in flight when it updates 160 x 8 weights of the embedding, 2bw one of two.
  const double update = 3 * 4 * 1280;
  EXPECT_EQ(memory_of(workload, two_stages("1f1b"), 0).working, update - 2 * 4 * (172 + 16));
  EXPECT_EQ(memory_of(workload, two_stages("2bw"), 0).working, update - 1 * 4 * (172 + 16));
}

TEST(MemoryModelTest, ATiedHeadSharesWeightsWithinAPieceOnly) {
  auto workload = tiny();
  workload.model.tied = true;
  workload = make_workload(workload);
  const auto one = candidate("1f1b", {1, 8, 1}, {4});
  EXPECT_EQ(memory_of(workload, one, 0).weights, (760 - 128) * 4);
  EXPECT_EQ(memory_of(workload, one, 0).gradients, 760 * 4);
  EXPECT_EQ(memory_of(workload, one, 0).optimizer, (760 - 128) * 8);
  EXPECT_EQ(memory_of(workload, two_stages("1f1b"), 1).weights, 432 * 4);
  // Both ends of the V lie on stage 0, in different pieces.
  const auto v = candidate("zb-v", {2, 8, 2}, {1, 1, 1, 1});
  EXPECT_EQ(memory_of(workload, v, 0).weights, (128 + 136) * 4);
}

TEST(MemoryModelTest, ReplicasNeedBuffers) {
  auto two = two_stages("1f1b");
  two.replicas = 2;
  EXPECT_EQ(memory_of(tiny(), two, 0).all_reduce, 2 * 32.0 * 1024 * 1024);
}

TEST(MemoryModelTest, PiecesInTheMiddleReceiveFromBothSides) {
  const auto four = candidate("1f1b", {4, 8, 1}, {1, 1, 1, 1});
  EXPECT_EQ(memory_of(tiny(), four, 1).messages, 2 * 2 * 4 * 32);
  EXPECT_EQ(memory_of(tiny(), candidate("1f1b", {1, 8, 1}, {4}), 0).messages, 0);
}

}  // namespace
}  // namespace penstock::plan
