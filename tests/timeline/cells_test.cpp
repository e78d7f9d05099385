#include "timeline/cells.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <string>

#include "timelines.h"

namespace penstock::timeline {
namespace {

using schedule::ActionKind;

TEST(Cells, CutAReceiveInWaitAndTransfer) {
  const auto found = cells(two_stages().stages[1], 0, 2);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].mark, Mark::wait_activation);
  EXPECT_EQ(found[0].begin, 0);
  EXPECT_EQ(found[0].end, 1);
  EXPECT_EQ(found[1].mark, Mark::transfer);
  EXPECT_EQ(found[1].begin, 1);
  EXPECT_EQ(found[1].end, 1.5);
  EXPECT_EQ(found[2].mark, Mark::forward);
  EXPECT_EQ(found[2].end, 2.5) << "uncut";
}

TEST(Cells, KeepWorkWithoutDurationAndDropSuchWaits) {
  const auto found = cells(two_stages().stages[0], 10, 10.5);
  ASSERT_EQ(found.size(), 3U) << "the backward that ends, contribute, update";
  EXPECT_EQ(found[1].mark, Mark::reduction);
  EXPECT_EQ(found[2].mark, Mark::update);
}

TEST(Cells, ACaptureIsWorkOfItsOwn) {
  const auto found = cells({span(ActionKind::capture, 0, 0, 2, 3)}, 0, 10);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].mark, Mark::capture);
  EXPECT_FALSE(is_bubble(Mark::capture));
  EXPECT_EQ(label(found[0], {4, 12, 1}), "S");
  EXPECT_EQ(title(Mark::capture), "capture of the state");
}

TEST(Label, NamesActionBatchParityAndChunk) {
  const schedule::PipelineShape plain{4, 12, 1};
  const schedule::PipelineShape chunked{4, 12, 2};
  const Cell forward{Mark::forward, {ActionKind::forward, 2, 11, 1, 0}, 0, 1};
  Cell backward{Mark::backward, {ActionKind::backward, 3, 0, 2, 1}, 0, 1};
  EXPECT_EQ(label(forward, plain), "F11");
  EXPECT_EQ(label(forward, chunked), "F11a");
  EXPECT_EQ(label(backward, chunked), "b0b");
  EXPECT_EQ(label({Mark::update, {ActionKind::update, 3, 0, 4, 0}, 0, 1}, plain), "u");
  EXPECT_EQ(label({Mark::backward_input, forward.action, 0, 1}, plain), "X11");
  EXPECT_EQ(label({Mark::backward_weight, forward.action, 0, 1}, plain), "W11");
  EXPECT_EQ(label({Mark::transfer, forward.action, 0, 1}, plain), "");
  EXPECT_EQ(label_length(plain), 3U);
  EXPECT_EQ(label_length(chunked), 4U);
  EXPECT_EQ(label(backward, {4, 1, 1}), "b3") << "the batch, since every micro-batch is 0";
  EXPECT_EQ(label_length({4, 1, 1}), 3U);
  backward.action.chunk = 30;
  EXPECT_EQ(label(backward, {4, 12, 31}), "b0.30");
}

// Relative luminance and contrast as WCAG 2 defines them.
double luminance(std::string_view colour) {
  std::array<double, 3> parts{};
  for (std::size_t i = 0; i < 3; ++i) {
    const double value = std::stoi(std::string(colour.substr(1 + 2 * i, 2)), nullptr, 16) / 255.0;
    parts[i] = value <= 0.03928 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
  }
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
}

double contrast(std::string_view a, std::string_view b) {
  const double light = std::max(luminance(a), luminance(b));
  const double dark = std::min(luminance(a), luminance(b));
  return (light + 0.05) / (dark + 0.05);
}

TEST(Colour, LabelsAreLegibleAndVersionsAndActionsDiffer) {
  std::set<std::string_view> fills;
  std::set<int> terminal;
  for (int i = 0; i <= static_cast<int>(Mark::capture); ++i) {
    if (is_bubble(static_cast<Mark>(i))) continue;
    for (const bool odd : {false, true}) {
      const Colour paint = colour(static_cast<Mark>(i), odd);
      // 4.5 is what WCAG asks of small text.
      EXPECT_GE(contrast(paint.fill, paint.ink), 4.5) << i << odd;
      EXPECT_TRUE(fills.insert(paint.fill).second) << i << odd;
      EXPECT_TRUE(terminal.insert(paint.terminal_background).second) << i << odd;
    }
    EXPECT_GE(
        contrast(colour(static_cast<Mark>(i), false).fill, colour(static_cast<Mark>(i), true).fill),
        2)
        << i;
  }
}

TEST(IntervalOf, IsFromTheFirstForwardToTheLastBackward) {
  const auto timeline = simulated("2bw", {2, 4, 1}, 4);
  // Stage 0: F0 F1, from 4 on B0 and pairs of F and B. Pair i = 1, 2, ... begins at 3 + 3 i with F
  // number i + 1 of the run, so F4 begins at 12 and B7 ends 3 + 3 * 8.
  const auto interval = interval_of(timeline, 1, 1);
  EXPECT_EQ(interval.begin, 12);
  EXPECT_EQ(interval.end, 27);
  EXPECT_EQ(interval_of(timeline, 9, 9).end, end_of(timeline)) << "no such batch";
}

TEST(SlotOf, IsTheShortestMeanOfTraining) {
  EXPECT_EQ(slot_of(two_stages()), 1);
  EXPECT_EQ(slot_of(simulated("zb-h1", {2, 4, 1}, 1, {.forward = 3, .backward = 4})), 2);
  EXPECT_EQ(slot_of({}), 1) << "nothing to measure";
}

}  // namespace
}  // namespace penstock::timeline
