#include <gtest/gtest.h>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::History;
using tests::optimizer;

/// sign(b1 m_{t-1} + (1 - b1) g_t), m the average of all gradients before.
double update(const History& h) {
  const std::vector<double> before(h.g.begin(), h.g.end() - 1);
  const double b1 = h.momentum.back();
  return h.lr * tests::sign_of(b1 * tests::average(before, 0.98) + (1 - b1) * h.g.back());
}

TEST(Lion, FollowsItsTranscription) {
  tests::expect_follows({.optimizer = "lion", .momentum = 0.95, .update = update});
}

TEST(Lion, TheUpdateLooksFurtherThanTheAverage) {
  // m = 0.02 * 1 after the first gradient; then beta1 m against (1 - beta1) g.
  const auto lion = optimizer("lion", {{"beta1", 0.5}, {"beta2", 0.98}});
  State state = lion->init(at::zeros({2}));
  EXPECT_TRUE(at::equal(lion->update(at::tensor({1.0F, 1.0F}), state, {1, 0.25}),
                        at::tensor({0.25F, 0.25F})));
  EXPECT_TRUE(at::equal(lion->update(at::tensor({-0.019F, -0.021F}), state, {2, 0.25}),
                        at::tensor({0.25F, -0.25F})));
}

TEST(Lion, EveryOptionIsUsed) { tests::expect_uses("lion", {}, {{"beta1", 0.5}, {"beta2", 0.8}}); }

TEST(Lion, DefaultsAreThoseOfLanguageModels) {
  const auto options = tests::component(registry(), "lion", {}).options;
  EXPECT_EQ(options.at("beta1"), config::Value(0.95));
  EXPECT_EQ(options.at("beta2"), config::Value(0.98));
}

TEST(Lion, StateIsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const auto lion = optimizer("lion");
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(lion->init(weight), weight), 4);
  tests::expect_continues(*lion, *tests::correction("error_feedback"), {33, 33});
}

TEST(Lion, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("lion")); }

TEST(Lion, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("lion", {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(optimizer("lion", {{"beta2", -0.1}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
