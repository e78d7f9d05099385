#include <gtest/gtest.h>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::History;
using tests::optimizer;

TEST(Signum, FollowsItsTranscription) {
  tests::expect_follows({.optimizer = "signum", .momentum = 0.9, .update = [](const History& h) {
                           return h.lr * tests::sign_of(tests::average(h.g, h.momentum));
                         }});
}

TEST(Signum, ZeroHasNoSign) {
  const auto signum = optimizer("signum");
  const at::Tensor gradient = at::tensor({3.0F, -1e-30F, 0.0F});
  State state = signum->init(gradient);
  EXPECT_TRUE(
      at::equal(signum->update(gradient, state, {1, 0.5}), at::tensor({0.5F, -0.5F, 0.0F})));
}

TEST(Signum, EveryOptionIsUsed) { tests::expect_uses("signum", {}, {{"beta", 0.8}}); }

TEST(Signum, StateIsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const auto signum = optimizer("signum");
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(signum->init(weight), weight), 4);
  tests::expect_continues(*signum, *tests::correction("error_feedback"), {33, 33});
}

TEST(Signum, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("signum")); }

TEST(Signum, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("signum", {{"beta", 1.0}}), UserError);
  EXPECT_THROW(optimizer("signum", {{"lr", 0.0}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
