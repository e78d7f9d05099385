#include "timeline/usage.h"

#include <gtest/gtest.h>

namespace penstock::timeline {
namespace {

using schedule::ActionKind;
using enum schedule::ActionKind;

Span span(ActionKind kind, double begin, double end, double transfer = 0) {
  return {.action = {.kind = kind}, .begin = begin, .end = end, .transfer = transfer};
}

// Powers of two as lengths: every sum tells which spans are in it.
Timeline one_of_each() {
  Timeline timeline;
  timeline.stages = {{
      span(forward, 0, 1),
      span(backward, 1, 3),
      span(backward_input, 3, 7),
      span(backward_weight, 7, 15),
      span(contribute, 15, 31),
      span(update, 31, 63),
      span(receive_activation, 63, 127, 16),
      span(receive_gradient, 127, 255, 32),
      span(await_reduction, 255, 511),
      span(send_activation, 511, 1023),
      span(send_gradient, 1023, 2047),
      span(receive_evaluation, 2047, 2049, 1),
      span(evaluate, 2049, 2053),
      span(send_evaluation, 2053, 2061),
      span(capture, 2071, 2072),
  }};
  return timeline;
}

TEST(Usage, EveryKindHasItsCause) {
  const Usage all = usage(one_of_each(), 0, 2072).at(0);
  EXPECT_EQ(all.work, 63 + 1);
  EXPECT_EQ(all.wait_activation, 64 - 16);
  EXPECT_EQ(all.wait_gradient, 128 - 32);
  EXPECT_EQ(all.transfer, 16 + 32);
  EXPECT_EQ(all.wait_update, 256);
  EXPECT_EQ(all.blocked, 512 + 1024);
  EXPECT_EQ(all.evaluation, 2 + 4 + 8);
  EXPECT_EQ(all.idle, 10);
  EXPECT_EQ(all.bubble(), 48 + 96 + 48 + 256 + 1536 + 10);
  EXPECT_EQ(all.seconds(), 2072);
}

TEST(Usage, ReceivesAreCutSoThatTheTransferStaysTheirLastPart) {
  Timeline timeline;
  timeline.stages = {{span(receive_activation, 2, 10, 3)}};  // waits 2..7, transfer 7..10
  const auto expect = [&](double from, double to, double wait, double transfer, double idle) {
    const Usage part = usage(timeline, from, to).at(0);
    EXPECT_EQ(part.wait_activation, wait) << from << ".." << to;
    EXPECT_EQ(part.transfer, transfer) << from << ".." << to;
    EXPECT_EQ(part.idle, idle) << from << ".." << to;
  };
  expect(2, 10, 5, 3, 0);
  expect(0, 12, 5, 3, 4);
  expect(3, 6, 3, 0, 0);
  expect(3, 8, 4, 1, 0);
  expect(8, 9, 0, 1, 0);
  expect(9, 11, 0, 1, 1);
  expect(11, 14, 0, 0, 3);
  expect(0, 1, 0, 0, 1);
}

TEST(Usage, PartsOfARunAddUpToTheWhole) {
  const Timeline timeline = one_of_each();
  for (const double cut : {0.0, 0.5, 70.0, 120.0, 126.5, 200.0, 2047.5, 2065.0, 2072.0}) {
    Usage sum = usage(timeline, 0, cut).at(0);
    sum += usage(timeline, cut, 2072).at(0);
    const Usage whole = usage(timeline, 0, 2072).at(0);
    EXPECT_EQ(sum.work, whole.work) << cut;
    EXPECT_EQ(sum.evaluation, whole.evaluation) << cut;
    EXPECT_EQ(sum.wait_activation, whole.wait_activation) << cut;
    EXPECT_EQ(sum.wait_gradient, whole.wait_gradient) << cut;
    EXPECT_EQ(sum.wait_update, whole.wait_update) << cut;
    EXPECT_EQ(sum.transfer, whole.transfer) << cut;
    EXPECT_EQ(sum.blocked, whole.blocked) << cut;
    EXPECT_EQ(sum.idle, whole.idle) << cut;
  }
}

TEST(Usage, AStageWithoutSpansIsIdle) {
  Timeline timeline;
  timeline.stages.resize(2);
  const auto stages = usage(timeline, 3, 5);
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[1].idle, 2);
  EXPECT_EQ(stages[1].work, 0);
}

}  // namespace
}  // namespace penstock::timeline
