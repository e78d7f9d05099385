// The order of decay, correction and update in engine::ParameterUpdater.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "optim/trajectory.h"

namespace penstock::engine {
namespace {

using tests::correction;
using tests::optimizer;

/// AdamW without memory: u = lr for a positive gradient.
optim::OptimizerPtr constant_update() {
  return optimizer("adamw", {{"beta1", 0.0}, {"beta2", 0.0}, {"eps", 1e-30}});
}

TEST(ParameterUpdater, DecayActsOnTheNewestWeightsAndIsNotExtrapolated) {
  const auto rule = constant_update();
  const auto feedback = correction("error_feedback");
  at::Tensor x = at::full({2}, 8.0F);
  ParameterUpdater updater(*rule, *feedback, 0.5, x);
  const at::Tensor gradient = at::ones({2});
  // x (1 - 0.5 * 0.5) - 2 u_0 = 6 - 1
  updater.apply({gradient}, {.step = 1, .lr = 0.5}, {x, x});
  EXPECT_TRUE(at::equal(x, at::full({2}, 5.0F)));
  // x (1 - 0.25) - (2 u_1 - u_0) = 3.75 - 0.5: decay inside u would give more
  updater.apply({gradient}, {.step = 2, .lr = 0.5}, {x, x});
  EXPECT_TRUE(at::equal(x, at::full({2}, 3.25F)));
}

TEST(ParameterUpdater, WritesTheNextWeightsWithoutTouchingTheNewest) {
  const tests::GoldenUpdates golden;
  const auto rule = optimizer("muon");
  const auto feedback = correction("error_feedback");
  at::Tensor in_place = golden["tall.weight"].clone();
  at::Tensor slots[2] = {in_place.clone(), at::full_like(in_place, 99)};
  ParameterUpdater one(*rule, *feedback, 0.1, in_place);
  ParameterUpdater two(*rule, *feedback, 0.1, in_place);
  for (std::int64_t k = 0; k < 4; ++k) {
    const at::Tensor gradient = golden["tall.grads"][k];
    const at::Tensor gradient_before = gradient.clone();
    const at::Tensor newest = slots[k % 2].clone();
    one.apply({gradient}, {k + 1, golden.lr(k)}, {in_place, in_place});
    two.apply({gradient}, {k + 1, golden.lr(k)}, {slots[k % 2], slots[(k + 1) % 2]});
    EXPECT_TRUE(at::equal(slots[k % 2], newest));
    EXPECT_TRUE(at::equal(slots[(k + 1) % 2], in_place));
    EXPECT_TRUE(at::equal(gradient, gradient_before));
  }
}

/// Plain gradient descent: u = lr g.
optim::OptimizerPtr descent(const char* decay = "coupled") {
  return optimizer("sgd", {{"momentum", 0.0}, {"decay", std::string(decay)}});
}

/// One update of a weight of 2 in fp32 (one sweep) and in fp64 (tensors), which must agree.
double after(const optim::Optimizer& rule, const delay::Correction& correction, double decay,
             double gradient, double scale, std::int64_t delay, double seen, double lr,
             double progress = 0) {
  std::vector<double> results;
  for (const auto type : {at::kFloat, at::kDouble}) {
    at::Tensor x = at::full({2}, 2.0, type);
    ParameterUpdater updater(rule, correction, decay, x);
    updater.apply({.values = at::full({2}, gradient, type),
                   .scale = scale,
                   .delay = delay,
                   .seen = at::full({2}, seen, type)},
                  {.step = 1, .lr = lr, .progress = progress}, {x, x});
    results.push_back(x[1].item<double>());
  }
  EXPECT_NEAR(results[0], results[1], 1e-6);
  return results[1];
}

TEST(ParameterUpdater, TheCorrectionSeesTheClippedGradientWithoutDecay) {
  // clipped: 0.5 * 8 = 4; corrected: 4 + 0.5 * 4 * 4 * (2 - 1) = 12; with coupled decay: 12 + 0.5 *
  // 2 = 13; step 0.25 * 13. In any other order it is another number.
  const auto dc_asgd = correction("dc_asgd", {{"lambda", 0.5}});
  EXPECT_DOUBLE_EQ(after(*descent(), *dc_asgd, 0.5, 8, 0.5, 1, 1, 0.25), 2 - 0.25 * 13);
}

TEST(ParameterUpdater, CoupledDecayIsRepaidAndDecoupledDecayIsNot) {
  const auto feedback = correction("error_feedback");
  // coupled: u = 0.5 (1 + 0.5 * 2) = 1, doubled; decoupled: 2 (1 - 0.5 * 0.5) - 2 * 0.5
  EXPECT_DOUBLE_EQ(after(*descent(), *feedback, 0.5, 1, 1, 1, 2, 0.5), 0);
  EXPECT_DOUBLE_EQ(after(*descent("decoupled"), *feedback, 0.5, 1, 1, 1, 2, 0.5), 0.5);
}

TEST(ParameterUpdater, TheFactorOfTheLearningRateActsOnUpdateAndDecay) {
  const auto staleness = correction("staleness_lr");
  // lr 0.5 / 4: 2 (1 - 0.125 * 0.5) - 0.125
  EXPECT_DOUBLE_EQ(after(*descent("decoupled"), *staleness, 0.5, 1, 1, 4, 2, 0.5), 1.75);
  const auto pipemare = correction("pipemare", {{"anneal", 0.5}});
  // a quarter of the run: p = 0.5, lr 0.5 / 2
  EXPECT_DOUBLE_EQ(after(*descent(), *pipemare, 0, 1, 1, 4, 2, 0.5, 0.25), 1.75);
}

TEST(ParameterUpdater, WithoutSeenWeightsTheNewestTakeTheirPlace) {
  const auto rule = descent();
  const auto dc_asgd = correction("dc_asgd");
  at::Tensor x = at::full({2}, 2.0F);
  ParameterUpdater updater(*rule, *dc_asgd, 0, x);
  updater.apply({.values = at::ones({2})}, {.step = 1, .lr = 0.5}, {x, x});
  EXPECT_TRUE(at::equal(x, at::full({2}, 1.5F)));
}

TEST(ParameterUpdater, TheMomentumOfTheMomentReachesTheOptimizer) {
  const auto rule = optimizer("sgd");
  const auto none = correction("none");
  at::Tensor x = at::zeros({1});
  ParameterUpdater updater(*rule, *none, 0, x);
  updater.apply({at::ones({1})}, {.step = 1, .lr = 1, .momentum = 0.5}, {x, x});
  updater.apply({at::ones({1})}, {.step = 2, .lr = 1, .momentum = 0.25}, {x, x});
  EXPECT_EQ(x.item<float>(), -1 - 1.25F);
}

TEST(ParameterUpdater, TheMatrixOptimizersStepIsFusedToTheSameResult) {
  const tests::Problem problem({7, 33});
  for (const char* name : {"none", "error_feedback", "weight_prediction"}) {
    const auto rule = optimizer("muon");
    const auto corrected = correction(name);
    const at::Tensor fused = tests::run(problem, *rule, 0.1, tests::Path::sweep, corrected.get());
    const at::Tensor plain = tests::run(problem, *rule, 0.1, tests::Path::tensors, corrected.get());
    // the same update; decay, step and subtraction round a few times, in fourteen updates
    EXPECT_LT(tests::worst_error(fused, plain), tests::fp32_tolerance) << name;
  }
}

}  // namespace
}  // namespace penstock::engine
