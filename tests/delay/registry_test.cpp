#include "delay/registry.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "optim/helpers.h"

namespace penstock::delay {
namespace {

TEST(CorrectionRegistry, NoneIsTheDefaultAndErrorFeedbackRepaysAll) {
  EXPECT_EQ(registry().front().spec.name, "none");
  const auto options = tests::component(registry(), "error_feedback", {}).options;
  EXPECT_EQ(options.at("lambda"), config::Value(1.0));
}

TEST(CorrectionRegistry, AnUnknownNameIsAMistakeOfTheProgram) {
  EXPECT_THROW(make({"dc_asgd", {}}), std::logic_error);
}

}  // namespace
}  // namespace penstock::delay
