// The order of decay, correction and update in engine::ParameterUpdater.

#include <gtest/gtest.h>

#include "optim/helpers.h"

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
  updater.apply(gradient, {.step = 1, .lr = 0.5}, x, x);
  EXPECT_TRUE(at::equal(x, at::full({2}, 5.0F)));
  // x (1 - 0.25) - (2 u_1 - u_0) = 3.75 - 0.5: decay inside u would give more
  updater.apply(gradient, {.step = 2, .lr = 0.5}, x, x);
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
    one.apply(gradient, {k + 1, golden.lr(k)}, in_place, in_place);
    two.apply(gradient, {k + 1, golden.lr(k)}, slots[k % 2], slots[(k + 1) % 2]);
    EXPECT_TRUE(at::equal(slots[k % 2], newest));
    EXPECT_TRUE(at::equal(slots[(k + 1) % 2], in_place));
    EXPECT_TRUE(at::equal(gradient, gradient_before));
  }
}

}  // namespace
}  // namespace penstock::engine
