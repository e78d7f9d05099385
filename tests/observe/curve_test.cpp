#include "observe/curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

namespace penstock::observe {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(DrawCurve, AFallingLine) {
  std::vector<double> values;
  for (int i = 0; i < 16; ++i) values.push_back(15 - i);
  EXPECT_EQ(draw_curve(values, {.width = 8, .height = 2}),
            "15 ┤⠉⠒⠤⣀⠀⠀⠀⠀\n"
            " 0 ┤⠀⠀⠀⠀⠉⠒⠤⣀\n"
            "   └────────\n"
            "    1     16\n");
}

TEST(DrawCurve, AJumpHasNoHole) {
  EXPECT_EQ(draw_curve(std::vector<double>{1, 0}, {.width = 2, .height = 2}),
            "1 ┤⠉⡆\n"
            "0 ┤⠀⣇\n"
            "  └──\n"
            "   12\n");
}

TEST(DrawCurve, OnePointAndAFlatCurve) {
  const std::string flat =
      "  │⠀⠀\n"
      "3 ┤⠉⠉\n"
      "  └──\n";
  EXPECT_EQ(draw_curve(std::vector<double>{3}, {.width = 2, .height = 2}), flat + "   1 \n");
  EXPECT_EQ(draw_curve(std::vector<double>{3, 3, 3, 3, 3, 3, 3}, {.width = 2, .height = 2}),
            flat + "   17\n");
}

TEST(DrawCurve, BinsAreMeans) {
  // A million values in 4 bins: means 1, 2, 3, 4, whatever their noise of plus and minus 10.
  constexpr std::size_t count = 1'000'000;
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<double>(1 + i * 4 / count) + (i % 2 == 0 ? 10.0 : -10.0);
  }
  const CurveStyle style{.width = 2, .height = 2};
  const auto lines = lines_of(draw_curve(values, style));
  const auto means = lines_of(draw_curve(std::vector<double>{1, 2, 3, 4}, style));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], means[0]);
  EXPECT_EQ(lines[1], means[1]);
  EXPECT_EQ(lines[3], "   11000000");
}

TEST(DrawCurve, WhatIsNotFiniteIsLeftOut) {
  EXPECT_EQ(draw_curve({}), "");
  EXPECT_EQ(draw_curve(std::vector<double>{not_a_number, not_a_number}), "");
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(
      draw_curve(std::vector<double>{1, not_a_number, infinity, 0}, {.width = 2, .height = 2}),
      "1 ┤⠁⠀\n"
      "0 ┤⠀⢀\n"
      "  └──\n"
      "   14\n");
}

TEST(DrawCurve, SkippedUpdatesLeaveTheOthersInPlace) {
  std::vector<double> whole;
  std::vector<double> skipped;
  for (int i = 0; i < 4000; ++i) {
    whole.push_back(4 - i / 1000);
    skipped.push_back(i % 7 == 0 ? not_a_number : whole.back());
  }
  EXPECT_EQ(draw_curve(skipped, {.width = 2, .height = 2}),
            draw_curve(whole, {.width = 2, .height = 2}));
}

TEST(DrawCurve, HugeValues) {
  const double huge = std::numeric_limits<double>::max();
  const auto lines =
      lines_of(draw_curve(std::vector<double>{huge, -huge}, {.width = 2, .height = 2}));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], " 1.798e+308 ┤⠉⡆");
  EXPECT_EQ(lines[1], "-1.798e+308 ┤⠀⣇");
}

TEST(DrawCurve, AnOverflowingMeanIsLeftOut) {
  std::vector<double> values(8, std::numeric_limits<double>::max());
  EXPECT_EQ(draw_curve(values, {.width = 2, .height = 2}), "");
}

TEST(DrawCurve, TheUsualSize) {
  std::vector<double> values;
  for (int i = 0; i < 300; ++i) values.push_back(2 + 7 * std::exp(-i / 40.0));
  const auto lines = lines_of(draw_curve(values));
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_EQ(lines.back().substr(lines.back().size() - 5), "  300");
}

}  // namespace
}  // namespace penstock::observe
