#include "base/error.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace penstock {
namespace {

TEST(Error, TheLineHasPlaceRuleValuesAndRemedy) {
  const UserError error =
      user_error("config", "train.{} = {} is negative; give {} or more", "clip", -0.5, 0);
  EXPECT_STREQ(error.what(), "[config] train.clip = -0.5 is negative; give 0 or more");
}

TEST(Error, BracesInValuesStayAsTheyAre) {
  EXPECT_STREQ(user_error("data", "'{}' is missing", std::string("{}{x}.txt")).what(),
               "[data] '{}{x}.txt' is missing");
}

TEST(Error, IsNoLogicError) {
  // main() tells mistakes of the user from those of the program by the type.
  try {
    throw user_error("data", "empty");
  } catch (const std::logic_error&) {
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "[data] empty");
  }
}

}  // namespace
}  // namespace penstock
