#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::average;
using tests::GoldenUpdates;
using tests::History;
using tests::optimizer;
using tests::worst_error;

double update(const History& h) {
  const auto t = static_cast<double>(h.g.size());
  const auto rise = [](double step) { return 1 - 0.5 * std::pow(0.96, 0.004 * step); };
  double passed = 1;
  for (std::size_t i = 0; i < h.g.size(); ++i) {
    passed *= h.momentum[i] * rise(static_cast<double>(i + 1));
  }
  const double now = h.momentum.back() * rise(t);
  const double next = h.momentum.back() * rise(t + 1);
  const double ahead =
      next * average(h.g, h.momentum) / (1 - passed * next) + (1 - now) * h.g.back() / (1 - passed);
  const double square = average(tests::squares(h.g), 0.999) / (1 - std::pow(0.999, t));
  return h.lr * ahead / (std::sqrt(square) + 1e-8);
}

class NAdamWTest : public testing::TestWithParam<const char*> {};

TEST_P(NAdamWTest, FollowsTorch) {
  const GoldenUpdates golden;
  const std::string shape = GetParam();
  const auto error = [&](const tests::Options& options) {
    return worst_error(golden.run(shape, *optimizer("nadamw", options), 0.1),
                       golden[shape + ".nadamw"]);
  };
  // The bound of AdamW's test; wrong code is off by 8e-6 or more (tests/golden/README.md).
  EXPECT_LT(error({}), 1.8e-6);
  EXPECT_GT(error({{"psi", 0.005}}), 5e-6);
  EXPECT_GT(error({{"beta2", 0.99}}), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NAdamWTest, testing::Values("tall", "wide", "square", "vector"));

TEST(NAdamW, FollowsItsTranscription) {
  tests::expect_follows({.optimizer = "nadamw", .momentum = 0.99, .update = update});
}

TEST(NAdamW, EveryOptionIsUsed) {
  tests::expect_uses("nadamw", {}, {{"beta1", 0.9}, {"beta2", 0.99}, {"eps", 1e-4}, {"psi", 0.04}});
}

TEST(NAdamW, DefaultsAreThoseOfAsyncPp) {
  const auto options = tests::component(registry(), "nadamw", {}).options;
  EXPECT_EQ(options.at("beta1"), config::Value(0.99));
  EXPECT_EQ(options.at("beta2"), config::Value(0.999));
  EXPECT_EQ(options.at("psi"), config::Value(0.004));
  EXPECT_EQ(options.at("weight_decay"), config::Value(0.01));
}

TEST(NAdamW, StateIsEightBytesPerParameterAndContinuesWithTheSameBits) {
  const auto nadamw = optimizer("nadamw");
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(nadamw->init(weight), weight), 8);
  tests::expect_continues(*nadamw, *tests::correction("error_feedback"), {33, 33});
}

TEST(NAdamW, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("nadamw")); }

TEST(NAdamW, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("nadamw", {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(optimizer("nadamw", {{"psi", -1.0}}), UserError);
  EXPECT_THROW(optimizer("nadamw", {{"eps", 0.0}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
