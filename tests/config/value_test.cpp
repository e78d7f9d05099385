#include "config/value.h"

#include <gtest/gtest.h>

#include <limits>

namespace penstock::config {
namespace {

TEST(Value, RealsStayReals) {
  EXPECT_EQ(to_toml(Value(1.0)), "1.0");
  EXPECT_EQ(to_toml(Value(-0.0)), "-0.0");
  EXPECT_EQ(to_toml(Value(1e-8)), "1e-08");
  EXPECT_EQ(to_toml(Value(1e300)), "1e+300");
  EXPECT_EQ(to_toml(Value(std::numeric_limits<double>::infinity())), "inf");
  EXPECT_EQ(to_toml(Value(std::numeric_limits<double>::quiet_NaN())), "nan");
}

TEST(Value, RealsKeepEveryDigit) {
  for (const double x : {0.1 + 0.2, 1.0 / 3, 2.2250738585072014e-308, 1.7976931348623157e308}) {
    EXPECT_EQ(std::stod(to_toml(Value(x))), x);
  }
}

TEST(Value, OtherKinds) {
  EXPECT_EQ(to_toml(Value(true)), "true");
  EXPECT_EQ(to_toml(Value(std::numeric_limits<std::int64_t>::min())), "-9223372036854775808");
  EXPECT_EQ(to_toml(Value(TextList{"a", "b\"c"})), R"(["a", "b\"c"])");
  EXPECT_EQ(to_toml(Value(IntegerList{5, 13})), "[5, 13]");
  EXPECT_EQ(to_toml(Value(IntegerList{})), "[]");
}

TEST(Value, TextsAreEscaped) {
  EXPECT_EQ(quoted("a\\b\"c\nd\te\x01"
                   "f\x7f"),
            R"("a\\b\"c\nd\te\u0001f\u007F")");
  EXPECT_EQ(quoted("grüße"), "\"grüße\"");
}

TEST(Joined, ShowsEmptyWords) {
  EXPECT_EQ(joined({}, ", "), "");
  EXPECT_EQ(joined({"a", "", "b"}, ", "), "a, \"\", b");
}

}  // namespace
}  // namespace penstock::config
