#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::delay {
namespace {

using tests::correction;
using tests::optimizer;

/// f(W) = <W - target, H (W - target)> / 2 with a positive definite H.
struct Quadratic {
  at::Tensor curvature, target;

  Quadratic() : target(tests::normal({6, 4}, "target")) {
    const at::Tensor a = tests::normal({6, 6}, "curvature");
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
    updater.apply({f.gradient(seen)}, {.step = t + 1, .lr = learning_rate(t)}, {x, next});
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
    updater.apply({f.gradient(seen)}, {.step = t + 1, .lr = learning_rate(t)}, {y, next});
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
  const auto step = [&](float a, float b) { return feedback->step(at::tensor({a, b}), state, {}); };
  EXPECT_TRUE(at::equal(step(3, -1), at::tensor({6.0F, -2.0F}))) << "doubles the first update";
  EXPECT_TRUE(at::equal(step(4, -1), at::tensor({5.0F, -1.0F}))) << "2 u - u_prev";
  EXPECT_TRUE(at::equal(step(0, 0), at::tensor({-4.0F, 1.0F})));
  EXPECT_TRUE(at::equal(step(0, 0), at::tensor({0.0F, 0.0F}))) << "nothing is left to repay";
}

TEST(ErrorFeedback, LambdaScalesTheRepaidError) {
  const auto feedback = correction("error_feedback", {{"lambda", 0.5}});
  optim::State state = feedback->init(at::zeros({1}));
  EXPECT_EQ(feedback->step(at::tensor({2.0F}), state, {}).item<float>(), 3.0F);
  EXPECT_EQ(feedback->step(at::tensor({4.0F}), state, {}).item<float>(), 5.0F);
}

TEST(ErrorFeedback, ThePreviousUpdateCarriesItsOwnLearningRate) {
  // Without momentum and bias, AdamW's update is lr for a constant gradient: the second step with
  // half the learning rate is 2 (lr / 2) - lr = 0, not lr / 2.
  const auto adamw = optimizer("adamw", {{"beta1", 0.0}, {"beta2", 0.0}, {"eps", 1e-30}});
  const auto feedback = correction("error_feedback");
  at::Tensor x = at::zeros({3});
  engine::ParameterUpdater updater(*adamw, *feedback, 0, x);
  const at::Tensor gradient = at::full({3}, 4.0F);
  updater.apply({gradient}, {.step = 1, .lr = 0.5}, {x, x});
  EXPECT_TRUE(at::equal(x, at::full({3}, -1.0F)));
  updater.apply({gradient}, {.step = 2, .lr = 0.25}, {x, x});
  EXPECT_TRUE(at::equal(x, at::full({3}, -1.0F)));
  updater.apply({gradient}, {.step = 3, .lr = 0.25}, {x, x});
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
      const engine::ParameterUpdater::Moment moment{k + 1, golden.lr(k)};
      plain.apply({golden["wide.grads"][k]}, moment, {x, x});
      corrected.apply({golden["wide.grads"][k]}, moment, {y, y});
      ASSERT_TRUE(at::equal(x, y)) << name << ", update " << k;
    }
  }
}

TEST(ErrorFeedback, KeepsOneBufferOfItsOwn) {
  const auto feedback = correction("error_feedback");
  const at::Tensor weight = at::ones({3, 5});
  optim::State state = feedback->init(weight);
  ASSERT_EQ(state.tensors.size(), 1U);
  EXPECT_EQ(state.tensors.begin()->second.nbytes(), 4U * 15U);
  at::Tensor step = feedback->step(at::ones({3, 5}), state, {});
  step.fill_(9);  // the caller's to change
  EXPECT_TRUE(at::equal(feedback->step(at::ones({3, 5}), state, {}), at::ones({3, 5})));
}

TEST(ErrorFeedback, NoUpdateIsLostWhereTheDelayChanges) {
  const auto feedback = correction("error_feedback");
  optim::State state = feedback->init(at::zeros({1}));
  const auto step = [&](float u, std::int64_t delay) {
    return feedback->step(at::tensor({u}), state, {.delay = delay}).item<float>();
  };
  EXPECT_EQ(step(3, 0), 3) << "the first update of a run is not doubled";
  EXPECT_EQ(step(4, 1), 8) << "now 4 ahead of 3 + 4";
  EXPECT_EQ(step(5, 1), 6) << "2 * 5 - 4: now 5 ahead of 3 + 4 + 5";
  EXPECT_EQ(step(4, 0), -1) << "at 3 + 4 + 5 + 4";
  EXPECT_EQ(step(1, 2), 2) << "1 ahead";
}

TEST(ErrorFeedback, LambdaGoesEvenlyToItsFinalValue) {
  const auto feedback =
      correction("error_feedback",
                 {{"lambda", 1.0}, {"schedule", std::string("linear")}, {"final_lambda", 0.5}});
  // u = 4 after 2, which had lambda = 1: 4 + 4 lambda - 2
  for (const auto& [progress, expected] : {std::pair(0.0, 6.0F), {0.5, 5.0F}, {0.75, 4.5F}}) {
    optim::State state = feedback->init(at::zeros({1}));
    feedback->step(at::tensor({2.0F}), state, {});
    const auto step = feedback->step(at::tensor({4.0F}), state, {.progress = progress});
    EXPECT_EQ(step.item<float>(), expected) << progress;
  }
}

TEST(ErrorFeedback, RemembersInBf16WhereToldTo) {
  const auto feedback = correction("error_feedback", {{"state", std::string("bf16")}});
  const at::Tensor weight = at::ones({3, 5});
  optim::State state = feedback->init(weight);
  EXPECT_EQ(state.tensors.at("ahead").nbytes(), 2U * 15U);
  // 1 + 2^-9 has no bf16; 1 is next to it
  const at::Tensor u = at::full({3, 5}, 1.0F + 0x1p-9F);
  feedback->step(u, state, {});
  const at::Tensor step = feedback->step(u, state, {});
  EXPECT_TRUE(at::equal(step, at::full({3, 5}, 1.0F + 0x1p-8F))) << "u + (u - 1)";
  const auto rule = optimizer("adamw");
  tests::expect_continues(*rule, *feedback, {33, 33});
}

TEST(ErrorFeedback, RefusesOptionsOutOfRange) {
  EXPECT_THROW(correction("error_feedback", {{"lambda", -0.5}}), UserError);
  EXPECT_THROW(correction("error_feedback", {{"lambda", std::nan("")}}), UserError);
  EXPECT_THROW(correction("error_feedback", {{"state", std::string("fp16")}}), UserError);
  try {
    correction("error_feedback", {{"final_lambda", 0.5}});
    FAIL() << "took an option without effect";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[config] error_feedback: final_lambda = 0.5 has no part in schedule = \"fixed\"; "
                 "set schedule = \"linear\"");
  }
}

TEST(NoCorrection, StepsAreTheUpdates) {
  const auto none = correction("none");
  optim::State state = none->init(at::zeros({2}));
  EXPECT_TRUE(state.tensors.empty());
  EXPECT_TRUE(
      at::equal(none->step(at::tensor({3.0F, -1.0F}), state, {}), at::tensor({3.0F, -1.0F})));
}

}  // namespace
}  // namespace penstock::delay
