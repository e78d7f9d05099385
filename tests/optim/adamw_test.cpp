#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::GoldenUpdates;
using tests::optimizer;
using tests::worst_error;

// An update rounds the weights twice (decay, subtraction), to 2^-24 each: twelve updates stay below
// 24 * 6e-8 = 1.4e-6 of their norm. The step itself has some ten roundings, but is at most 0.05 of
// a weight: twelve of them add 12 * 0.05 * 10 * 6e-8 = 4e-7. Wrong code is off by 8e-5 or more
// (tests/golden/README.md).
constexpr double tolerance = 1.8e-6;

class AdamWTest : public testing::TestWithParam<const char*> {
 protected:
  std::string shape = GetParam();
  GoldenUpdates golden;
};

TEST_P(AdamWTest, FollowsTorch) {
  const auto adamw = optimizer("adamw");
  const at::Tensor after = golden.run(shape, *adamw, adamw->weight_decay());
  EXPECT_LT(worst_error(after, golden[shape + ".adamw"]), tolerance);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AdamWTest, testing::Values("tall", "wide", "square", "vector"));

TEST(AdamW, FollowsItsTranscription) {
  tests::expect_follows(
      {.optimizer = "adamw", .momentum = 0.9, .update = [](const tests::History& h) {
         const auto t = static_cast<double>(h.g.size());
         const double m = tests::average(h.g, h.momentum) / (1 - tests::product(h.momentum));
         const double v = tests::average(tests::squares(h.g), 0.95) / (1 - std::pow(0.95, t));
         return h.lr * m / (std::sqrt(v) + 1e-8);
       }});
}

TEST(AdamW, ALeadExtrapolatesTheAverage) {
  tests::expect_follows(
      {.optimizer = "adamw",
       .options = {{"lead", 2.0}},
       .momentum = 0.9,
       .update = [](const tests::History& h) {
         const auto t = static_cast<double>(h.g.size());
         const auto corrected = [](const tests::History& seen) {
           return tests::average(seen.g, seen.momentum) / (1 - tests::product(seen.momentum));
         };
         double n = corrected(h);
         if (t > 1) {
           tests::History before = h;
           before.g.pop_back();
           before.momentum.pop_back();
           n += 2 * (n - corrected(before));
         }
         const double v = tests::average(tests::squares(h.g), 0.95) / (1 - std::pow(0.95, t));
         return h.lr * n / (std::sqrt(v) + 1e-8);
       }});
}

TEST(AdamW, ALeadDoesNothingWhereTheGradientStays) {
  const auto adamw = optimizer("adamw", {{"lead", 3.0}});
  const at::Tensor gradient = at::tensor({3.0F, -0.25F});
  State state = adamw->init(gradient);
  for (std::int64_t step = 1; step <= 20; ++step) {
    const at::Tensor u = adamw->update(gradient, state, {.step = step, .lr = 0.5});
    EXPECT_TRUE(at::allclose(u, at::tensor({0.5F, -0.5F}), 1e-5, 0)) << step;
  }
}

TEST(AdamW, FollowsTorchWithoutDecay) {
  const GoldenUpdates golden;
  const at::Tensor after = golden.run("vector", *optimizer("adamw"), 0);
  EXPECT_LT(worst_error(after, golden["vector.adamw_no_decay"]), tolerance);
}

TEST(AdamW, FirstStepIsTheSignWhateverTheOptions) {
  // bias correction: m / bc1 = g and v / bc2 = g^2 in the first update
  const auto adamw = optimizer("adamw", {{"beta1", 0.5}, {"beta2", 0.999}});
  const at::Tensor gradient = at::tensor({3.0F, -0.01F, 0.0F, 1e-8F});
  State state = adamw->init(gradient);
  const at::Tensor u = adamw->update(gradient, state, {.step = 1, .lr = 0.25});
  EXPECT_NEAR(u[0].item<double>(), 0.25, 1e-6);
  EXPECT_NEAR(u[1].item<double>(), -0.25, 1e-6);
  EXPECT_EQ(u[2].item<double>(), 0);
  EXPECT_NEAR(u[3].item<double>(), 0.125, 1e-6) << "|g| = eps";
}

TEST(AdamW, EveryOptionIsUsed) {
  const GoldenUpdates golden;
  const auto run = [&](const tests::Options& options) {
    return golden.run("square", *optimizer("adamw", options), 0.1);
  };
  const at::Tensor expected = run({});
  for (const auto& [key, value] : {std::pair("beta1", 0.8), std::pair("beta2", 0.9)}) {
    EXPECT_GT(worst_error(run({{key, value}}), expected), 1e-3) << key;
  }
  EXPECT_GT(worst_error(run({{"eps", 1e-2}}), expected), 1e-4);
  EXPECT_GT(worst_error(run({{"lead", 0.5}}), expected), 1e-3);
  EXPECT_EQ(optimizer("adamw", {{"lr", 0.7}})->peak_lr(), 0.7);
  EXPECT_EQ(optimizer("adamw", {{"weight_decay", 0.3}})->weight_decay(), 0.3);
}

TEST(AdamW, DefaultsAreThoseOfLanguageModels) {
  const auto options = tests::component(registry(), "adamw", {}).options;
  EXPECT_EQ(options.at("beta1"), config::Value(0.9));
  EXPECT_EQ(options.at("beta2"), config::Value(0.95));
  EXPECT_EQ(options.at("eps"), config::Value(1e-8));
  EXPECT_EQ(options.at("weight_decay"), config::Value(0.1));
}

TEST(AdamW, StateIsEightBytesPerParameterAndContinuesWithTheSameBits) {
  const auto adamw = optimizer("adamw");
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(adamw->init(weight), weight), 8);
  tests::expect_continues(*adamw, *tests::correction("error_feedback"), {33, 33});
}

TEST(AdamW, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("adamw")); }

TEST(AdamW, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("adamw", {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(optimizer("adamw", {{"eps", 0.0}}), UserError);
  EXPECT_THROW(optimizer("adamw", {{"lr", std::nan("")}}), UserError);
  EXPECT_THROW(optimizer("adamw", {{"weight_decay", -0.1}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
