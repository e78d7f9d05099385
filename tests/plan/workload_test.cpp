#include "plan/workload.h"

#include <gtest/gtest.h>

#include <limits>

#include "plan/example.h"
#include "plan/message_of.h"

namespace penstock::plan {
namespace {

TEST(WorkloadTest, CountsTheParametersOfEveryUnit) {
  const auto workload = tiny();
  ASSERT_EQ(workload.units.size(), 4u);
  EXPECT_EQ(workload.units[0].weights, 128);
  EXPECT_EQ(workload.units[1].weights, 200);
  EXPECT_EQ(workload.units[2].weights, 296);
  EXPECT_EQ(workload.units[3].weights, 136);
  EXPECT_EQ(workload.units[1].matrix_weights, 192);
  EXPECT_EQ(workload.units[3].matrix_weights, 0);
  EXPECT_EQ(workload.parameters(), 760);
  EXPECT_EQ(workload.parameters(), static_cast<double>(model::parameter_count(workload.model)));
}

TEST(WorkloadTest, CutsTheCostOfModelUnits) {
  const auto workload = tiny();
  const auto chain = model::units(workload.model);
  for (std::size_t u = 0; u < chain.size(); ++u) {
    const auto& unit = workload.units[u];
    EXPECT_DOUBLE_EQ(unit.forward + unit.input_gradient + unit.weight_gradient, chain[u].cost);
    const bool is_head = u + 1 == chain.size();  // its logits are formed in its backward
    EXPECT_DOUBLE_EQ(unit.forward, is_head ? 0 : chain[u].cost / 3);
  }
  // A matrix product costs as much in dX as in dW; the embedding has no dX; scores have no dW.
  EXPECT_DOUBLE_EQ(workload.units[2].input_gradient, workload.units[2].weight_gradient);
  EXPECT_EQ(workload.units[0].input_gradient, 0);
  EXPECT_DOUBLE_EQ(workload.units[1].weight_gradient, 2.0 * 192);
}

TEST(WorkloadTest, AddsUpTheSavedTensors) {
  const auto workload = tiny();
  EXPECT_EQ(workload.units[0].saved, 0);
  // x, normed 8 fp32 each, 1/rms; q 8, k 4, v 4; attended 8; log-sum of 2 heads.
  EXPECT_EQ(workload.units[1].saved, 2 * 32 + 4 + 64 + 32 + 8);
  EXPECT_EQ(workload.units[2].saved, 2 * 32 + 4 + 3 * 12 * 4);
  EXPECT_EQ(workload.units[3].saved, 2 * 32 + 4);
  EXPECT_EQ(workload.units[3].logits, 16 * 4);
}

TEST(WorkloadTest, Bf16HalvesAllButTheStatistics) {
  auto workload = tiny();
  workload.precision = config::Precision::bf16;
  workload = make_workload(workload);
  EXPECT_EQ(workload.units[1].saved, 32 + 4 + 32 + 16 + 8);
  EXPECT_EQ(workload.stream(), 16);
}

TEST(WorkloadTest, ExpertsMultiplyTheMlp) {
  auto workload = tiny();
  const auto dense = workload;
  workload.experts = {.count = 4, .active = 2};
  workload = make_workload(workload);
  EXPECT_EQ(workload.units[2].weights, 8 + 4 * 288);
  EXPECT_EQ(workload.parameters(), 760 + 3 * 288);
  EXPECT_EQ(workload.active_parameters(), 760 + 288);
  EXPECT_DOUBLE_EQ(workload.units[2].forward, 2 * dense.units[2].forward);
  EXPECT_EQ(workload.units[2].saved, 2 * 32 + 4 + 2 * 3 * 12 * 4);
  EXPECT_EQ(workload.units[1].weights, dense.units[1].weights);
}

TEST(WorkloadTest, NewtonSchulzCostsByTheShorterSide) {
  auto workload = tiny();
  workload.state.newton_schulz = true;
  workload = make_workload(workload);
  // gate and up 12 x 8, down 8 x 12: r = 8, c = 12.
  EXPECT_DOUBLE_EQ(workload.units[2].update_flop, 3 * 5 * (4.0 * 64 * 12 + 2.0 * 512));
  EXPECT_EQ(workload.units[3].update_flop, 0);
}

TEST(WorkloadTest, RefusesWhatCannotBe) {
  auto workload = tiny();
  workload.experts = {.count = 4, .active = 5};
  EXPECT_EQ(message_of([&] { make_workload(workload); }),
            "[plan] experts.active = 5 of experts.count = 4; set 1 <= active <= count");
  EXPECT_EQ(sequences_of(4096, 1024), 4);
  EXPECT_EQ(message_of([] { (void)sequences_of(5000, 1024); }),
            "[plan] a batch of 5000 tokens is no whole number of sequences of 1024; set "
            "--batch-tokens 4096 or 5120");
  EXPECT_EQ(message_of([] { (void)sequences_of(100, 1024); }),
            "[plan] a batch of 100 tokens is no whole number of sequences of 1024; set "
            "--batch-tokens 1024");
  EXPECT_EQ(message_of([] { (void)sequences_of(-5000, 2048); }),
            "[plan] a batch of -5000 tokens is no whole number of sequences of 2048; set "
            "--batch-tokens 2048");
  EXPECT_EQ(sequences_of(std::int64_t{1} << 41, 2048), std::int64_t{1} << 30);
  EXPECT_EQ(message_of([] { (void)sequences_of(std::numeric_limits<std::int64_t>::max(), 2048); }),
            "[plan] a batch of 9223372036854775807 tokens has 4503599627370495 sequences of 2048, "
            "but a plan takes at most 1073741824; set --batch-tokens 2199023255552 or less");
}

}  // namespace
}  // namespace penstock::plan
