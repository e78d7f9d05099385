#include "delay/registry.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

#include "optim/helpers.h"

namespace penstock::delay {
namespace {

TEST(CorrectionRegistry, NoneIsTheDefaultAndErrorFeedbackRepaysAll) {
  EXPECT_EQ(registry().front().spec.name, "none");
  const auto options = tests::component(registry(), "error_feedback", {}).options;
  EXPECT_EQ(options.at("lambda"), config::Value(1.0));
}

TEST(CorrectionRegistry, HoldsTheNamesOfTheConfiguration) {
  std::set<std::string> names;
  for (const auto& entry : registry()) {
    EXPECT_TRUE(names.insert(entry.spec.name).second) << entry.spec.name << " is there twice";
    EXPECT_FALSE(entry.spec.summary.empty()) << entry.spec.name;
    EXPECT_EQ(entry.spec.source.empty(), entry.spec.name == "none") << entry.spec.name;
  }
  for (const char* name :
       {"none", "error_feedback", "weight_prediction", "dc_asgd", "staleness_lr", "pipemare"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(CorrectionRegistry, WhatChangesGradientsSaysThatItNeedsTheSeenWeights) {
  for (const auto& entry : registry()) {
    const auto made = make({entry.spec.name, {}});
    EXPECT_EQ(made->changes_gradient(), entry.spec.needs_seen_weights) << entry.spec.name;
  }
}

TEST(CorrectionRegistry, WithoutDelayNothingIsCorrected) {
  // The step of every correction is the update then, the gradient the gradient, the rate the rate:
  // in the first update, and always in schedules without delay.
  const at::Tensor u = at::tensor({3.0F, -1.0F});
  const at::Tensor w = at::tensor({1.0F, 2.0F});
  for (const auto& entry : registry()) {
    SCOPED_TRACE(entry.spec.name);
    const auto made = make({entry.spec.name, {}});
    optim::State state = made->init(u);
    const DelayContext now{.delay = 0};
    for (int update = 0; update < 3; ++update) {
      EXPECT_EQ(made->lr_factor(now), 1);
      EXPECT_TRUE(at::equal(made->step(u * (update + 1), state, now), u * (update + 1)));
      EXPECT_TRUE(at::equal(made->gradient(u, w, w * 1.25, state, now), u));
    }
  }
}

TEST(CorrectionRegistry, AnUnknownNameIsAMistakeOfTheProgram) {
  EXPECT_THROW(make({"dcasgd", {}}), std::logic_error);
}

}  // namespace
}  // namespace penstock::delay
