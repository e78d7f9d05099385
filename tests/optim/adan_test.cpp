#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::average;
using tests::History;
using tests::optimizer;

/// Without the proximal division, which is the transcription's own.
double update(const History& h) {
  const auto t = static_cast<double>(h.g.size());
  std::vector<double> change{0};
  for (std::size_t i = 1; i < h.g.size(); ++i) change.push_back(h.g[i] - h.g[i - 1]);
  std::vector<double> ahead;
  for (std::size_t i = 0; i < h.g.size(); ++i) ahead.push_back(h.g[i] + 0.92 * change[i]);
  const double root =
      std::sqrt(average(tests::squares(ahead), 0.99)) / std::sqrt(1 - std::pow(0.99, t)) + 1e-8;
  return h.lr * average(h.g, h.momentum) / ((1 - tests::product(h.momentum)) * root) +
         h.lr * 0.92 * average(change, 0.92) / ((1 - std::pow(0.92, t)) * root);
}

TEST(Adan, FollowsItsTranscription) {
  tests::expect_follows(
      {.optimizer = "adan", .momentum = 0.98, .update = update, .decay = tests::Decay::proximal});
}

TEST(Adan, ProximalDecayIsNotThePlainOne) {
  const tests::Problem problem({5, 31});
  const at::Tensor actual = tests::run(problem, *optimizer("adan"), 0.1, tests::Path::doubles);
  const at::Tensor plain =
      tests::transcribed(problem, {.optimizer = "adan", .momentum = 0.98, .update = update});
  EXPECT_GT(tests::worst_error(actual, plain), 1e-5);
  EXPECT_DOUBLE_EQ(optimizer("adan")->keep({.lr = 0.5, .weight_decay = 0.5}), 0.8);
}

TEST(Adan, TheFirstUpdateHasNoChangeOfTheGradient) {
  const auto adan = optimizer("adan", {{"eps", 1e-30}});
  const at::Tensor gradient = at::tensor({4.0F, -0.5F});
  State state = adan->init(gradient);
  const at::Tensor u = adan->update(gradient, state, {.step = 1, .lr = 0.25});
  // m / bc1 = g, n / bc3 = g^2: u = lr sign(g), to a few roundings
  EXPECT_TRUE(at::allclose(u, at::tensor({0.25F, -0.25F}), 1e-6, 0));
  EXPECT_TRUE(at::equal(state.tensors.at("change"), at::zeros({2})));
  adan->update(gradient + 1, state, {.step = 2, .lr = 0.25});
  EXPECT_TRUE(at::allclose(state.tensors.at("change"), at::full({2}, 0.08F), 1e-6, 0));
}

TEST(Adan, KeepsACopyOfThePreviousGradient) {
  const auto adan = optimizer("adan");
  at::Tensor gradient = at::tensor({4.0F});
  State state = adan->init(gradient);
  adan->update(gradient, state, {.step = 1, .lr = 0.25});
  gradient.fill_(9);
  EXPECT_EQ(state.tensors.at("previous_gradient").item<float>(), 4);
}

TEST(Adan, EveryOptionIsUsed) {
  tests::expect_uses("adan", {}, {{"beta1", 0.9}, {"beta2", 0.8}, {"beta3", 0.9}, {"eps", 1e-4}});
}

TEST(Adan, DefaultsAreThoseOfItsAuthors) {
  const auto options = tests::component(registry(), "adan", {}).options;
  EXPECT_EQ(options.at("beta1"), config::Value(0.98));
  EXPECT_EQ(options.at("beta2"), config::Value(0.92));
  EXPECT_EQ(options.at("beta3"), config::Value(0.99));
  EXPECT_EQ(options.at("lr"), config::Value(1e-3));
}

TEST(Adan, StateIsSixteenBytesPerParameterAndContinuesWithTheSameBits) {
  const auto adan = optimizer("adan");
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(adan->init(weight), weight), 16);
  tests::expect_continues(*adan, *tests::correction("error_feedback"), {33, 33});
}

TEST(Adan, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("adan")); }

TEST(Adan, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("adan", {{"beta3", 1.0}}), UserError);
  EXPECT_THROW(optimizer("adan", {{"eps", 0.0}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
