#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "optim/helpers.h"

namespace penstock::delay {
namespace {

using tests::correction;
using tests::optimizer;

at::Tensor normal(std::vector<std::int64_t> shape, const char* name) {
  at::Tensor result = at::empty(shape, at::kDouble);
  auto* values = result.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    values[i] = random_normal(random_key(5, name), static_cast<std::uint64_t>(i));
  }
  return result;
}

/// f(W) = <W - target, H (W - target)> / 2 with a positive definite H.
struct Quadratic {
  at::Tensor curvature, target;

  Quadratic() : target(normal({6, 4}, "target")) {
    const at::Tensor a = normal({6, 6}, "curvature");
    curvature = at::matmul(a, a.t()) / 6;
  }
  at::Tensor gradient(const at::Tensor& w) const { return at::matmul(curvature, w - target); }
};

double learning_rate(std::int64_t t) {  // another one in every update
  return 0.02 * (1 + 0.5 * std::cos(static_cast<double>(t)));
}

constexpr std::int64_t updates = 40;

/// x: the delayed iteration with a correction. Double precision: the classes take it.
std::vector<at::Tensor> delayed(const optim::Optimizer& rule, const Correction& correction) {
  const Quadratic f;
  at::Tensor x = at::ones({6, 4}, at::kDouble);
  at::Tensor seen = x;
  std::vector<at::Tensor> path{x};
  engine::ParameterUpdater updater(rule, correction, 0, x);
  for (std::int64_t t = 0; t < updates; ++t) {
    at::Tensor next = at::empty_like(x);
    updater.apply(f.gradient(seen), {.step = t + 1, .lr = learning_rate(t)}, x, next);
    seen = x;
    x = next;
    path.push_back(x);
  }
  return path;
}

/// y: the plain delayed iteration whose gradients are taken at y minus the last update, one update
/// ago: where y is going to be if that update repeats itself. Returns those places.
std::vector<at::Tensor> predicted(const optim::Optimizer& rule) {
  const Quadratic f;
  const auto none = correction("none");
  at::Tensor y = at::ones({6, 4}, at::kDouble);
  at::Tensor place = y;
  at::Tensor seen = y;
  std::vector<at::Tensor> path{place};
  engine::ParameterUpdater updater(rule, *none, 0, y);
  for (std::int64_t t = 0; t < updates; ++t) {
    at::Tensor next = at::empty_like(y);
    updater.apply(f.gradient(seen), {.step = t + 1, .lr = learning_rate(t)}, y, next);
    seen = place;
    const at::Tensor last_update = y - next;
    y = next;
    place = y - last_update;
    path.push_back(place);
  }
  return path;
}

double distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double worst = 0;
  for (std::size_t t = 0; t < a.size(); ++t) {
    worst = std::max(worst, ((a[t] - b[t]).norm() / b[t].norm()).item<double>());
  }
  return worst;
}

struct Case {
  const char* optimizer;
  double tolerance;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.optimizer; }

class ErrorFeedbackTest : public testing::TestWithParam<Case> {};

TEST_P(ErrorFeedbackTest, IsOneStepWeightPrediction) {
  const auto rule = optimizer(GetParam().optimizer);
  const auto places = predicted(*rule);
  EXPECT_LT(distance(delayed(*rule, *correction("error_feedback")), places), GetParam().tolerance);
  // and nothing else is
  EXPECT_GT(distance(delayed(*rule, *correction("error_feedback", {{"lambda", 0.5}})), places),
            1e-3);
  EXPECT_GT(distance(delayed(*rule, *correction("none")), places), 1e-3);
}

// Doubles: 40 updates of a few roundings of 1.1e-16, amplified where AdamW's average of g^2 is
// small. Muon's orthogonalisation runs in fp32 (6e-8): where the two ways round differently, an
// update of 0.1 of the weights differs by up to 1e-5 of itself.
INSTANTIATE_TEST_SUITE_P(Optimizers, ErrorFeedbackTest,
                         testing::Values(Case{"adamw", 1e-11}, Case{"muon", 1e-5}),
                         [](const auto& test) { return test.param.optimizer; });

TEST(ErrorFeedback, StepsAreExtrapolated) {
  const auto feedback = correction("error_feedback");
  optim::State state = feedback->init(at::zeros({2}));
  const auto step = [&](float a, float b) { return feedback->step(at::tensor({a, b}), state); };
  EXPECT_TRUE(at::equal(step(3, -1), at::tensor({6.0F, -2.0F}))) << "doubles the first update";
  EXPECT_TRUE(at::equal(step(4, -1), at::tensor({5.0F, -1.0F}))) << "2 u - u_prev";
  EXPECT_TRUE(at::equal(step(0, 0), at::tensor({-4.0F, 1.0F})));
  EXPECT_TRUE(at::equal(step(0, 0), at::tensor({0.0F, 0.0F}))) << "nothing is left to repay";
}

TEST(ErrorFeedback, LambdaScalesTheRepaidError) {
  const auto feedback = correction("error_feedback", {{"lambda", 0.5}});
  optim::State state = feedback->init(at::zeros({1}));
  EXPECT_EQ(feedback->step(at::tensor({2.0F}), state).item<float>(), 3.0F);
  EXPECT_EQ(feedback->step(at::tensor({4.0F}), state).item<float>(), 5.0F);
}

TEST(ErrorFeedback, ThePreviousUpdateCarriesItsOwnLearningRate) {
  // Without momentum and bias, AdamW's update is lr for a constant gradient: the second step with
  // half the learning rate is 2 (lr / 2) - lr = 0, not lr / 2.
  const auto adamw = optimizer("adamw", {{"beta1", 0.0}, {"beta2", 0.0}, {"eps", 1e-30}});
  const auto feedback = correction("error_feedback");
  at::Tensor x = at::zeros({3});
  engine::ParameterUpdater updater(*adamw, *feedback, 0, x);
  const at::Tensor gradient = at::full({3}, 4.0F);
  updater.apply(gradient, {.step = 1, .lr = 0.5}, x, x);
  EXPECT_TRUE(at::equal(x, at::full({3}, -1.0F)));
  updater.apply(gradient, {.step = 2, .lr = 0.25}, x, x);
  EXPECT_TRUE(at::equal(x, at::full({3}, -1.0F)));
  updater.apply(gradient, {.step = 3, .lr = 0.25}, x, x);
  EXPECT_TRUE(at::equal(x, at::full({3}, -1.25F)));
}

TEST(ErrorFeedback, LambdaZeroIsNoCorrectionBitForBit) {
  const tests::GoldenUpdates golden;
  for (const char* name : {"adamw", "muon"}) {
    const auto rule = optimizer(name);
    const auto none = correction("none");
    const auto feedback = correction("error_feedback", {{"lambda", 0.0}});
    at::Tensor x = golden["wide.weight"].clone();
    at::Tensor y = x.clone();
    engine::ParameterUpdater plain(*rule, *none, 0.1, x);
    engine::ParameterUpdater corrected(*rule, *feedback, 0.1, y);
    for (std::int64_t k = 0; k < golden.updates(); ++k) {
      const optim::UpdateContext context{k + 1, golden.lr(k)};
      plain.apply(golden["wide.grads"][k], context, x, x);
      corrected.apply(golden["wide.grads"][k], context, y, y);
      ASSERT_TRUE(at::equal(x, y)) << name << ", update " << k;
    }
  }
}

TEST(ErrorFeedback, KeepsOneBufferOfItsOwn) {
  const auto feedback = correction("error_feedback");
  const at::Tensor weight = at::ones({3, 5});
  optim::State state = feedback->init(weight);
  ASSERT_EQ(state.size(), 1U);
  EXPECT_EQ(state.begin()->second.nbytes(), 4U * 15U);
  at::Tensor step = feedback->step(at::ones({3, 5}), state);
  step.fill_(9);  // the caller's to change
  EXPECT_TRUE(at::equal(feedback->step(at::ones({3, 5}), state), at::ones({3, 5})));
}

TEST(ErrorFeedback, RefusesANegativeLambda) {
  EXPECT_THROW(correction("error_feedback", {{"lambda", -0.5}}), UserError);
}

TEST(NoCorrection, StepsAreTheUpdates) {
  const auto none = correction("none");
  optim::State state = none->init(at::zeros({2}));
  EXPECT_TRUE(state.empty());
  EXPECT_TRUE(at::equal(none->step(at::tensor({3.0F, -1.0F}), state), at::tensor({3.0F, -1.0F})));
}

}  // namespace
}  // namespace penstock::delay
