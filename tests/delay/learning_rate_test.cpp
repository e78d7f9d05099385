// The two corrections that only lower the learning rate.

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "optim/helpers.h"

namespace penstock::delay {
namespace {

using tests::correction;

TEST(StalenessLr, DividesByTheDelay) {
  const auto staleness = correction("staleness_lr");
  const auto factor = [&](std::int64_t delay) {
    return staleness->lr_factor({.delay = delay, .progress = 0.5});
  };
  EXPECT_EQ(factor(0), 1);
  EXPECT_EQ(factor(1), 1);
  EXPECT_EQ(factor(2), 0.5);
  EXPECT_EQ(factor(8), 0.125);
}

TEST(PipeMare, DividesByAPowerOfTheDelayThatFadesOut) {
  const auto pipemare = correction("pipemare", {{"anneal", 0.25}});
  const auto factor = [&](std::int64_t delay, double progress) {
    return pipemare->lr_factor({.delay = delay, .progress = progress});
  };
  // tau^-p with p = 1, 1/2, 0: exact but for the rounding of pow
  EXPECT_DOUBLE_EQ(factor(4, 0), 0.25);
  EXPECT_DOUBLE_EQ(factor(4, 0.125), 0.5);
  EXPECT_DOUBLE_EQ(factor(9, 0.125), 1.0 / 3);
  EXPECT_DOUBLE_EQ(factor(4, 0.0625), std::pow(4, -0.75));
  EXPECT_DOUBLE_EQ(factor(4, 0.25), 1);
  EXPECT_DOUBLE_EQ(factor(4, 0.9), 1) << "it never raises the rate";
  for (const double progress : {0.0, 0.1, 0.9}) {
    EXPECT_EQ(factor(1, progress), 1);
    EXPECT_EQ(factor(0, progress), 1);
  }
}

TEST(PipeMare, FadesOutOverHalfOfTheRunUnlessToldOtherwise) {
  const auto pipemare = correction("pipemare");
  EXPECT_DOUBLE_EQ(pipemare->lr_factor({.delay = 4, .progress = 0.25}), 0.5);
  EXPECT_DOUBLE_EQ(pipemare->lr_factor({.delay = 4, .progress = 0.5}), 1);
}

TEST(PipeMare, RefusesToFadeOutOverNothingOrMoreThanTheRun) {
  EXPECT_THROW(correction("pipemare", {{"anneal", 0.0}}), UserError);
  EXPECT_THROW(correction("pipemare", {{"anneal", 1.5}}), UserError);
}

}  // namespace
}  // namespace penstock::delay
