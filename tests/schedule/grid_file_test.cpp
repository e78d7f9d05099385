#include "schedule/grid_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "schedule/compute.h"
#include "schedule/validate.h"
#include "support/temporary_folder.h"

namespace penstock::schedule {
namespace {

using testing::HasSubstr;
using enum ActionKind;

std::vector<Action> unrolled(const Schedule& schedule, int stage, PipelineShape shape,
                             std::int64_t batches) {
  std::vector<Action> actions;
  auto stream =
      schedule.generate(stage, shape, [=](std::int64_t batch) { return batch < batches; });
  while (const auto action = stream.next()) actions.push_back(*action);
  return actions;
}

/// "F0.1" is the forward of micro-batch 1 of batch 0, reading W of the number behind '@'; C, A and
/// U are contribute, await_reduction and update, with their batch.
std::string letters(const std::vector<Action>& actions) {
  std::string text;
  for (const Action& a : actions) {
    const char* names = "?F??BXW?CAU???";
    text += names[static_cast<int>(a.kind)];
    text += std::to_string(a.batch);
    if (a.kind != contribute && a.kind != await_reduction && a.kind != update) {
      text += "." + std::to_string(a.micro_batch) + "@" + std::to_string(a.version);
      if (a.chunk != 0) text += "'" + std::to_string(a.chunk);
    }
    text += ' ';
  }
  return text;
}

std::string letters(std::string_view text, int stage, PipelineShape shape, std::int64_t batches) {
  return letters(unrolled(parse_grid(text, "x.grid"), stage, shape, batches));
}

std::string message_of(std::string_view text) {
  try {
    parse_grid(text, "x.grid");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

void expect_same(const Schedule& a, const Schedule& b, PipelineShape shape) {
  SCOPED_TRACE(testing::Message() << b.name << " d=" << shape.stages << " m=" << shape.micro_batches
                                  << " v=" << shape.chunks);
  EXPECT_EQ(a.placement, b.placement);
  EXPECT_EQ(a.stashes_weights, b.stashes_weights);
  EXPECT_EQ(a.updates_together, b.updates_together);
  EXPECT_EQ(a.reductions(shape), b.reductions(shape));
  EXPECT_EQ(a.complaint(shape), "");
  for (int stage = 0; stage < shape.stages; ++stage) {
    const StageLimits x = a.limits(stage, shape);
    const StageLimits y = b.limits(stage, shape);
    EXPECT_EQ(x.least_delay, y.least_delay);
    EXPECT_EQ(x.most_delay, y.most_delay);
    EXPECT_EQ(x.versions, y.versions);
    EXPECT_EQ(x.gradient_buffers, y.gradient_buffers);
    EXPECT_EQ(x.in_flight, y.in_flight);
    for (const std::int64_t batches : {0, 1, 2, 3, 7}) {
      const auto expected = unrolled(b, stage, shape, batches);
      ASSERT_EQ(letters(unrolled(a, stage, shape, batches)), letters(expected))
          << "stage " << stage << ", " << batches << " batches";
      ASSERT_EQ(unrolled(a, stage, shape, batches), expected);
    }
  }
}

constexpr std::string_view two_stages_of_2bw = R"(
delay 1
versions 2 1
stage 0: F0 | F1  B0 U-1 F2 B1
stage 1:    | U-2 F0 B0  F1 B1
)";

TEST(GridFile, TheHeadersExampleIs2bw) {
  expect_same(parse_grid(two_stages_of_2bw, "x.grid"), find("2bw"), {2, 2, 1});
}

TEST(GridFile, SpacesIdleStepsAndCommentsDoNotMatter) {
  constexpr std::string_view text =
      "\xEF\xBB\xBF# two stages\r\n"
      "  delay\t1 # of every stage\r\n"
      "versions 2 1\r\n"
      "micro_batches 2\r\nstages 2\r\nchunks 1\r\nplacement loop\r\n"
      "stage 0:F0|F1 B0 . U-1 F2 B1 .\r\n"
      "stage  1 : . |U-2 F0 . B0 F1 B1#end";
  expect_same(parse_grid(text, "x.grid"), find("2bw"), {2, 2, 1});
}

TEST(GridFile, NegativeNumbersSayTheSameWithoutAStart) {
  constexpr std::string_view text = R"(
delay 1
versions 2 1
stage 0: U-2 F0 B-1 F1 B0
stage 1: U-2 F0 B0  F1 B1
)";
  expect_same(parse_grid(text, "x.grid"), find("2bw"), {2, 2, 1});
}

TEST(GridFile, WhatIsNotDeclaredFollowsFromTheRows) {
  const Schedule schedule =
      parse_grid("delay 2\nstage 0: F0 F1 F0'1 F1'1 B0 B0'1 B1 B1'1 U-2", "dir/x.grid");
  const PipelineShape shape{1, 2, 2};
  EXPECT_EQ(schedule.name, "dir/x.grid");
  EXPECT_EQ(schedule.summary, "custom, for 1 stages, 2 micro-batches, 2 chunks");
  EXPECT_EQ(schedule.default_chunks, 2);
  EXPECT_EQ(schedule.complaint(shape), "");
  const StageLimits limits = schedule.limits(0, shape);
  EXPECT_EQ(limits.least_delay, 2);
  EXPECT_EQ(limits.most_delay, 2);
  EXPECT_EQ(limits.versions, 3);
  EXPECT_EQ(limits.gradient_buffers, 3);
  EXPECT_EQ(limits.in_flight, 4);
  EXPECT_EQ(schedule.reductions(shape), 3);
}

TEST(GridFile, SettingsTakeOneValueOrOnePerStage) {
  const Schedule schedule = parse_grid(R"(
summary by hand
delay 0..1 1
versions 4
gradient_buffers 3 2
in_flight 9
reductions 5
placement v
updates alone
backward newest
stage 0: F0 B0 U
stage 1: F0 B0 U
)",
                                       "x.grid");
  const StageLimits first = schedule.limits(0, {2, 1, 1});
  const StageLimits second = schedule.limits(1, {2, 1, 1});
  EXPECT_EQ(schedule.summary, "by hand");
  EXPECT_EQ(std::pair(first.least_delay, first.most_delay), std::pair(0, 1));
  EXPECT_EQ(std::pair(second.least_delay, second.most_delay), std::pair(1, 1));
  EXPECT_EQ(std::pair(first.versions, second.versions), std::pair(4, 4));
  EXPECT_EQ(std::pair(first.gradient_buffers, second.gradient_buffers), std::pair(3, 2));
  EXPECT_EQ(std::pair(first.in_flight, second.in_flight), std::pair(9, 9));
  EXPECT_EQ(schedule.reductions({2, 1, 1}), 5);
  EXPECT_EQ(schedule.placement, Placement::v);
  EXPECT_FALSE(schedule.updates_together);
  EXPECT_FALSE(schedule.stashes_weights);
}

TEST(GridFile, BackwardReadsTheVersionOfItsForwardOrTheNewest) {
  constexpr std::string_view rows = "stage 0: F0 | F1 X0 W0 U";
  EXPECT_EQ(letters(rows, 0, {1, 1, 1}, 2),
            "F0.0@0 F1.0@0 X0.0@0 W0.0@0 C0 A0 U0 X1.0@0 W1.0@0 C1 A1 U1 ");
  EXPECT_EQ(letters("backward newest\n" + std::string(rows), 0, {1, 1, 1}, 2),
            "F0.0@0 F1.0@0 X0.0@0 W0.0@0 C0 A0 U0 X1.0@1 W1.0@1 C1 A1 U1 ");
}

TEST(GridFile, AnUpdateForAForwardThatNeverComesWaitsForTheEnd) {
  constexpr std::string_view row = "stage 0: F0 F1 | B0 U F2";
  const PipelineShape shape{1, 1, 1};
  EXPECT_EQ(letters(row, 0, shape, 3),
            "F0.0@0 F1.0@0 B0.0@0 C0 A0 U0 F2.0@1 B1.0@0 C1 B2.0@1 C2 A1 U1 A2 U2 ");
  // B would see the difference, so the row's order is kept.
  EXPECT_EQ(letters("backward newest\n" + std::string(row), 0, shape, 3),
            "F0.0@0 F1.0@0 B0.0@0 C0 A0 U0 F2.0@1 B1.0@1 C1 A1 U1 B2.0@2 C2 A2 U2 ");
  // Nobody waits for others, so there is no reason to put it off.
  EXPECT_EQ(letters("updates alone\n" + std::string(row), 0, shape, 3),
            "F0.0@0 F1.0@0 B0.0@0 C0 U0 F2.0@1 B1.0@0 C1 U1 A0 B2.0@1 C2 U2 A1 A2 ");
}

TEST(GridFile, StagesThatUpdateAloneCollectAsLateAsDeclared) {
  constexpr std::string_view row = "updates alone\nstage 0: F0 B0 U";
  EXPECT_EQ(letters(row, 0, {1, 1, 1}, 2), "F0.0@0 B0.0@0 C0 U0 A0 F1.0@1 B1.0@1 C1 U1 A1 ");
  EXPECT_EQ(letters("collect_after 2\n" + std::string(row), 0, {1, 1, 1}, 3),
            "F0.0@0 B0.0@0 C0 U0 F1.0@1 B1.0@1 C1 U1 A0 F2.0@2 B2.0@2 C2 U2 A1 A2 ");
}

TEST(GridFile, ABatchIsAskedForWhenItStartsAndTheRunMayEndThere) {
  std::string log;
  const Schedule schedule = parse_grid(two_stages_of_2bw, "x.grid");
  auto stream = schedule.generate(0, {2, 2, 1}, [&log](std::int64_t batch) {
    log += "?" + std::to_string(batch) + " ";
    return batch < 2;
  });
  while (const auto action = stream.next()) log += letters({*action});
  EXPECT_EQ(log,
            "?0 F0.0@0 F0.1@0 B0.0@0 ?1 F1.0@0 B0.1@0 C0 F1.1@0 B1.0@0 ?2 B1.1@0 C1 A0 U0 A1 U1 ");
}

TEST(GridFile, AMillionMillionBatchesCostNothingInAdvance) {
  const Schedule schedule = parse_grid(two_stages_of_2bw, "x.grid");
  auto stream =
      schedule.generate(1, {2, 2, 1}, [](std::int64_t batch) { return batch < 1'000'000'000'000; });
  Action last;
  // F B F B C A U a batch; the first two batches have no A U before them, batch 1000 has those of
  // batch 998.
  for (int i = 0; i < 7 * 1000 - 2 * 2 + 3; ++i) last = stream.next().value();
  EXPECT_EQ(last, compute::forward(1000, 0, 999));
}

std::vector<PipelineShape> shapes_of(const Schedule& schedule) {
  std::vector<PipelineShape> shapes;
  for (const int d : {1, 2, 3, 4, 5, 8}) {
    for (const int m : {1, 2, 3, 4, 5, 6, 8, 11, 16}) {
      for (const int v : {1, 2, 3}) {
        if (schedule.complaint({d, m, v}).empty()) shapes.push_back({d, m, v});
      }
    }
  }
  return shapes;
}

TEST(GridFile, EveryScheduleCanBePrintedAndReadBack) {
  for (const Schedule& schedule : registry()) {
    const auto shapes = shapes_of(schedule);
    EXPECT_GE(shapes.size(), 20u) << schedule.name;
    for (const PipelineShape shape : shapes) {
      const std::string text = to_grid(schedule, shape);
      const Schedule again = parse_grid(text, "x.grid");
      expect_same(again, schedule, shape);
      EXPECT_EQ(again.summary, schedule.summary);
      EXPECT_EQ(to_grid(again, shape), text);
    }
  }
}

TEST(GridFile, PrintsAlignedRowsAndWhatIsNotTheDefault) {
  EXPECT_EQ(to_grid(find("2bw"), {3, 4, 1}),
            "summary asynchronous, no bubble in steady state; gradients one update old\n"
            "stages 3\n"
            "micro_batches 4\n"
            "delay 1\n"
            "versions 2 2 1\n"
            "stage 0: F0 F1 | F2  B0 F3 B1 U-1 F4 B2  F5 B3\n"
            "stage 1: F0    | F1  B0 F2 B1 F3  B2 U-1 F4 B3\n"
            "stage 2:       | U-2 F0 B0 F1 B1  F2 B2  F3 B3\n");
  EXPECT_EQ(to_grid(find("paci"), {3, 2, 1}),
            "summary asynchronous, no bubble, one weight copy; F and B may read different weights\n"
            "stages 3\n"
            "micro_batches 2\n"
            "backward newest\n"
            "updates alone\n"
            "delay 1 0..1 0\n"
            "stage 0: F0 F1 | F2 B0 F3 B1 U\n"
            "stage 1: F0    | F1 B0 F2 B1 U\n"
            "stage 2:       | F0 B0 F1 B1 U\n");
  EXPECT_EQ(to_grid(find("zb-v"), {2, 2, 2}),
            "summary synchronous, two chunks per stage in a V, dW fills the gaps; memory of 1f1b\n"
            "stages 2\n"
            "micro_batches 2\n"
            "chunks 2\n"
            "placement v\n"
            "stage 0: F0 F1   F0'1 X0'1 W0'1 F1'1 X1'1 W1'1 X0   W0   X1 W1 U\n"
            "stage 1: F0 F0'1 F1   F1'1 X0'1 W0'1 X0   W0   X1'1 W1'1 X1 W1 U\n");
}

TEST(GridFile, UpdatesBehindAnotherBatchKeepTheirPlace) {
  for (const std::string_view text :
       {"delay 1\nstage 0: F0 | F1 B0 U-1", "delay 1\nstage 0: F0 | U-2 F1 B0",
        "delay 1\nstage 0: F0 F1 | B0 U-1 F2",
        "delay 1\nbackward newest\nstage 0: F0 F1 | B0 U-1 F2",
        "delay 2\nstage 0: F0 F1 U-1 B0 B1"}) {
    const Schedule schedule = parse_grid(text, "x.grid");
    const PipelineShape shape{1, text.ends_with("B1") ? 2 : 1, 1};
    expect_same(parse_grid(to_grid(schedule, shape), "x.grid"), schedule, shape);
  }
}

ActionStream alternating(HasBatch has_batch) {
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    const bool odd = batch % 2 == 1;
    co_yield compute::forward(batch, 0, batch);
    if (odd) co_yield compute::backward(batch, 0, batch);
    co_yield compute::forward(batch, 1, batch);
    if (!odd) co_yield compute::backward(batch, 0, batch);
    co_yield compute::backward(batch, 1, batch);
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

ActionStream nothing() { co_return; }

TEST(GridFile, AScheduleThatDoesNotRepeatIsNotPrinted) {
  Schedule schedule = find("gpipe");
  schedule.name = "restless";
  schedule.generate = [](int, PipelineShape, HasBatch has) { return alternating(has); };
  try {
    to_grid(schedule, {1, 2, 1});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[schedule] a grid needs a schedule that repeats from batch to batch, but "
                 "'restless' does not on stage 0; it can only run as a program");
  }
  schedule.generate = [](int, PipelineShape, HasBatch) { return nothing(); };
  EXPECT_THROW(to_grid(schedule, {1, 2, 1}), UserError);
  EXPECT_THROW(to_grid(find("2bw"), {3, 2, 1}), UserError);
}

TEST(GridFile, AnotherShapeIsRefusedNamingTheGrids) {
  const Schedule schedule = parse_grid(two_stages_of_2bw, "my.grid");
  EXPECT_EQ(schedule.complaint({2, 2, 1}), "");
  for (const PipelineShape shape : {PipelineShape{3, 2, 1}, {2, 3, 1}, {2, 2, 2}}) {
    EXPECT_NE(schedule.complaint(shape), "");
  }
  EXPECT_EQ(schedule.complaint({4, 8, 1}),
            "the grid 'my.grid' is for pipeline.stages = 2, micro_batches = 2 and chunks = 1, but "
            "they are 4, 8 and 1; set them to the grid's, or write rows for this shape");
}

struct Mistake {
  std::string_view text;
  std::string_view message;
};

TEST(GridFile, MistakesAreNamedWithLineWordAndRemedy) {
  const Mistake mistakes[] = {
      {"",
       "[x.grid] a grid needs a row for each stage, but there is none; write one such as 'stage 0: "
       "F0 F1 B0 B1 U'"},
      {"# nothing\n\ndelay 1\n",
       "[x.grid] a grid needs a row for each stage, but there is none; write one such as 'stage 0: "
       "F0 F1 B0 B1 U'"},
      {"stage 0: F0 B0 Q1 U",
       "[x.grid:1] 'Q1' is no step; write F0 (forward of micro-batch 0), B0, X0, W0, U, '.' or "
       "'|'"},
      {"\nstage 0: F0 B0 \x01\xFFxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx U",
       "[x.grid:2] '??xxxxxxxxxxxxxxxxxxxxxx...' is no step; write F0 (forward of micro-batch 0), "
       "B0, X0, W0, U, '.' or '|'"},
      {"stage 0: F B0 U",
       "[x.grid:1] 'F' needs a whole number from -10000 to 10000 behind its letter; write F0 or "
       "F-1, say"},
      {"stage 0: F0 B0x U",
       "[x.grid:1] 'B0x' needs a whole number from -10000 to 10000 behind its letter; write B0 or "
       "B-1, say"},
      {"stage 0: F99999999999999999999 B0 U",
       "[x.grid:1] 'F99999999999999999999' needs a whole number from -10000 to 10000 behind its "
       "letter; write F0 or F-1, say"},
      {"stage 0: F0 B0 U-10001",
       "[x.grid:1] 'U-10001' needs a whole number from -10000 to 10000 behind its letter; write U "
       "or U-1, say"},
      {"stage 0: F0 B0 U'1",
       "[x.grid:1] 'U'1' names no chunk; an update is of all chunks, so "
       "write U"},
      {"stage 0: F0'256 B0 U",
       "[x.grid:1] 'F0'256' names no chunk; write a number from 0 to 255 behind the ', such as "
       "F0'1"},
      {"stage 0: F0' B0 U",
       "[x.grid:1] 'F0'' names no chunk; write a number from 0 to 255 behind the ', such as F0'1"},
      {"stage 0: F0 | B0 | F1 U",
       "[x.grid:1] a row has one '|', between what is done once and what is repeated, but this one "
       "has two; remove one"},
      {"stage 0: F0 F1 B0 F1 B1 U", "[x.grid:1] stage 0 runs F1 twice; remove one of them"},
      {"stage 0: F0 F1 B0 U",
       "[x.grid:1] stage 0 never runs B1 (2 micro-batches per batch); add it to the row"},
      {"stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 B1 U\nstage 2: F0 F1 B0 B1 U",
       "[x.grid:2] stage 1 never runs F1 (2 micro-batches per batch); add it to the row"},
      {"stage 0: F0 B0 F0'1 U",
       "[x.grid:1] stage 0 never runs B0'1 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 X0 U",
       "[x.grid:1] stage 0 never runs W0 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 W0 U",
       "[x.grid:1] stage 0 never runs X0 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 B0",
       "[x.grid:1] stage 0 never runs U (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 B0 U | F1",
       "[x.grid:1] stage 0 never runs B0 (1 micro-batch per batch); add it to the part right of "
       "'|', which is repeated"},
      {"stage 0:", "[x.grid:1] stage 0 never runs F0 (1 micro-batch per batch); add it to the row"},
      {"micro_batches 2\nstage 0: F0 F1 F2 B0 B1 U",
       "[x.grid:2] stage 0 runs F0 and F2 in every repetition, which is the same work twice (2 "
       "micro-batches per batch); keep one of them"},
      {"stage 0: F0 F1 B0 B1 U\nstage 1: F0 F1 F2 B0 B1 U\nstage 2: F0 F1 B0 B1 U",
       "[x.grid:2] stage 1 runs F0 and F2 in every repetition, which is the same work twice (2 "
       "micro-batches per batch); keep one of them"},
      {"stage 0: F0 B0 X0 W0 U",
       "[x.grid:1] stage 0 runs B0 and also X0, which are both the backward of the same "
       "micro-batch; write B0, or X0 and W0"},
      {"stage 0: F1 B0 U",
       "[x.grid:1] stage 0 starts with F1 in the first repetition, so F0 is never done; add it "
       "left of '|', or write F0 instead of F1"},
      {"stage 0: F0 | F2 B0 U",
       "[x.grid:1] stage 0 starts with F2 in the first repetition, so F1 is never done; add it "
       "left of '|'"},
      {"stage 0: F0 | F0 B0 U",
       "[x.grid:1] stage 0 runs F0 left of '|' and again in repetition 0 as F0; remove one of "
       "them"},
      {"stage 0: F0 F2 | F1 B0 U",
       "[x.grid:1] stage 0 runs F2 left of '|' and again in repetition 1 as F1; remove one of "
       "them"},
      {"stage 0: F-1 F0 | F1 B0 U",
       "[x.grid:1] 'F-1' left of '|' lies before the first batch; remove it"},
      {"stage 0: B0 F0 U",
       "[x.grid:1] stage 0 runs B0 before F0 of the same micro-batch; put it behind"},
      {"stage 0: F0 W0 X0 U",
       "[x.grid:1] stage 0 runs W0 before X0 of the same micro-batch; put it behind"},
      {"stage 0: F0 F1 B0 U B1",
       "[x.grid:1] stage 0 runs U before the last backward of that batch; put it behind"},
      {"stage 0: F0 F1 U-1 B-1 B-2",
       "[x.grid:1] stage 0 runs U-1 before the last backward of that batch; put it behind"},
      {"stage 0: F0 F1 B1 B0 U1 U0 | F2 B2 U2",
       "[x.grid:1] stage 0 runs B1 before the last backward of the batch before; put it behind"},
      {"stage 0: F0 F1 B0 B1 U1 U0 | F2 B2 U2",
       "[x.grid:1] stage 0 runs U1 before U from the batch before; put it behind"},
      {"stages 3\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] 'stages 3' needs as many rows, but there are 2; set stages to 2, or add rows"},
      {"stages 1\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] 'stages 1' needs as many rows, but there are 2; set stages to 2, or remove "
       "rows"},
      {"stage 0: F0 B0 U\nstage 2: F0 B0 U",
       "[x.grid:2] rows are numbered from 0 in order, but this one is 'stage 2'; write 'stage 1:'"},
      {"stage 0: F0 B0 U\nstage 0: F0 B0 U",
       "[x.grid:2] rows are numbered from 0 in order, but this one is 'stage 0'; write 'stage 1:'"},
      {"stage one: F0 B0 U",
       "[x.grid:1] rows are numbered from 0 in order, but this one is 'stage one'; write 'stage "
       "0:'"},
      {"stage 0 F0 B0 U", "[x.grid:1] a row starts with its stage and ':'; write 'stage 0: ...'"},
      {"dealy 1\nstage 0: F0 B0 U",
       "[x.grid:1] 'dealy' is no setting of a grid; did you mean 'delay'?"},
      {"F0 B0 U",
       "[x.grid:1] 'F0' is no setting of a grid; write one of stages, micro_batches, chunks, "
       "placement, backward, updates, delay, versions, gradient_buffers, in_flight, "
       "collect_after, reductions, summary, or a row 'stage 0: ...'"},
      {"delay\nstage 0: F0 B0 U", "[x.grid:1] 'delay' has no value; write 'delay VALUE'"},
      {"delay 1\ndelay 1\nstage 0: F0 B0 U",
       "[x.grid:2] 'delay' was set in line 1 already; remove one of them"},
      {"delay 1..0\nstage 0: F0 B0 U",
       "[x.grid:1] delay is a whole number from 0 to 100000, but it is '1..0'; write 'delay 1' or "
       "'delay 0..1'"},
      {"delay -1\nstage 0: F0 B0 U",
       "[x.grid:1] delay is a whole number from 0 to 100000, but it is '-1'; write 'delay 1' or "
       "'delay 0..1'"},
      {"versions 1..2\nstage 0: F0 B0 U",
       "[x.grid:1] versions is a whole number from 1 to 100000, but it is '1..2'; write 'versions "
       "1'"},
      {"in_flight 1 2 3\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] in_flight has one value, or one for each of the 2 stages, but there are 3; "
       "write 1 or 2"},
      {"micro_batches 0\nstage 0: F0 B0 U",
       "[x.grid:1] micro_batches is one whole number from 1 to 10000, but it is '0'; write "
       "'micro_batches 1'"},
      {"chunks 1\nstage 0: F0 F0'1 B0 B0'1 U",
       "[x.grid:1] 'chunks 1' allows chunks below 1, but the rows name chunk 1; set chunks to 2"},
      {"placement x\nstage 0: F0 B0 U",
       "[x.grid:1] placement is 'loop' or 'v', but it is 'x'; write 'placement loop'"},
      {"updates soon\nstage 0: F0 B0 U",
       "[x.grid:1] updates is 'together' or 'alone', but it is 'soon'; write 'updates together'"},
  };
  for (const auto& [text, message] : mistakes) EXPECT_EQ(message_of(text), message) << text;
}

TEST(GridFile, RowsThatWaitForEachOtherAreLeftToTheValidator) {
  const Schedule schedule = parse_grid("stage 0: F0 B0 F1 B1 U\nstage 1: F0 F1 B0 B1 U", "x.grid");
  try {
    require_valid(schedule, {2, 2, 1});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("stage 0 waits for stage 1"));
    EXPECT_THAT(error.what(), HasSubstr("stage 1 waits for stage 0"));
  }
}

std::string load_error(std::string_view name) {
  try {
    load(name);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Load, TakesANameOrAFile) {
  const support::TemporaryFolder folder;
  const std::string file = folder.write("mine.grid", two_stages_of_2bw).string();
  EXPECT_EQ(load("2bw").name, "2bw");
  EXPECT_EQ(load(file).name, file);
  expect_same(load(file), find("2bw"), {2, 2, 1});
  const std::string broken = folder.write("broken.grid", "stage 0: F0 B0").string();
  EXPECT_EQ(load_error(broken), "[" + broken +
                                    ":1] stage 0 never runs U (1 micro-batch per "
                                    "batch); add it to the row");
}

TEST(Load, NamesWhatCannotBeFound) {
  const support::TemporaryFolder folder;
  EXPECT_EQ(load_error("2wb"),
            "[schedule] no schedule is called '2wb'; did you mean '2bw'? choose one of 1f1b, 2bw, "
            "gpipe, interleaved, zb-h1, zb-v, pipedream, paci, or a grid file, FILE.grid");
  EXPECT_EQ(load_error("something"),
            "[schedule] no schedule is called 'something'; choose one of 1f1b, 2bw, gpipe, "
            "interleaved, zb-h1, zb-v, pipedream, paci, or a grid file, FILE.grid");
  const std::string path = folder.path().string();
  const std::string inner = (folder.path() / "folder.grid").string();
  std::filesystem::create_directory(inner);
  EXPECT_EQ(load_error(inner), "[schedule] '" + inner + "' is a folder; name a grid file in it");
  EXPECT_EQ(load_error(path + "/none.grid"),
            "[schedule] the grid file '" + path +
                "/none.grid' cannot be read; check its name, or choose a schedule such as '2bw'");
  EXPECT_THAT(load_error("none.grid"),
              HasSubstr("[schedule] the grid file 'none.grid' cannot be read"));
  const std::string large = folder.write("large.grid", std::string((16 << 20) + 1, '#')).string();
  EXPECT_EQ(load_error(large),
            "[schedule] the grid file '" + large + "' has more than 16 MiB; is it one?");
}

// As in configurations.
TEST(Load, TakesNothingElseForAGridFile) {
  const support::TemporaryFolder folder;
  const std::string other = folder.write("mine.txt", two_stages_of_2bw).string();
  for (const std::string& name :
       {other, std::string("./2bw"), std::string("own.Grid"), folder.path().string()}) {
    EXPECT_EQ(load_error(name), "[schedule] names of grid files end in .grid, but '" + name +
                                    "' does not; rename the file, or choose one of 1f1b, 2bw, "
                                    "gpipe, interleaved, zb-h1, zb-v, pipedream, paci");
  }
}

std::string print_error(std::string_view name, PipelineShape shape) {
  try {
    to_grid(find(name), shape);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(GridFile, WhatCannotBeReadBackIsNotPrinted) {
  EXPECT_EQ(print_error("gpipe", {1, 10'001, 1}),
            "[schedule] a grid file has at most 10000 micro-batches per batch, but here are 10001; "
            "set fewer");
  EXPECT_EQ(print_error("gpipe", {4097, 1, 1}),
            "[schedule] a grid file has at most 4096 stages, but here are 4097; set fewer");
  EXPECT_EQ(print_error("interleaved", {2, 2, 257}),
            "[schedule] a grid file has at most 256 chunks per stage, but here are 257; set fewer");
  EXPECT_EQ(print_error("2bw", {4, 10'000, 1}),
            "[schedule] the numbers of a grid's steps go up to 10000, but with 10000 micro-batches "
            "per batch one is F10001; set fewer");
  EXPECT_EQ(print_error("gpipe", {1024, 2000, 1}),
            "[schedule] a grid file has at most 16 MiB, but this one would have 22 or more; set "
            "fewer stages, micro-batches or chunks");
  // At the limits themselves.
  const Schedule& gpipe = find("gpipe");
  const PipelineShape longest{1, 10'000, 1};
  EXPECT_EQ(parse_grid(to_grid(gpipe, longest), "x.grid").only_shape, longest);
}

/// What must hold for every stage of every grid that is accepted.
void expect_sound_stage(const Schedule& schedule, int stage, PipelineShape shape,
                        bool declares_in_flight = false) {
  constexpr std::int64_t batches = 3;
  std::map<std::tuple<std::int64_t, std::int64_t, int>, int> progress;
  std::int64_t updates = 0;
  std::int64_t contributed = 0;
  std::int64_t collected = 0;
  int kept = 0;
  int most_kept = 0;
  for (const Action& a : unrolled(schedule, stage, shape, batches)) {
    int& state = progress[{a.batch, a.micro_batch, a.kind == update ? 0 : a.chunk}];
    switch (a.kind) {
      case forward:
        ASSERT_EQ(state++, 0);
        ASSERT_EQ(a.version, updates);
        most_kept = std::max(most_kept, ++kept);
        break;
      case backward_input:
      case backward:
        ASSERT_EQ(state, 1);
        state = a.kind == backward ? 3 : 2;
        if (a.kind == backward) --kept;
        break;
      case backward_weight:
        ASSERT_EQ(state++, 2);
        --kept;
        break;
      case contribute:
        ASSERT_EQ(a.batch, contributed++);
        break;
      case await_reduction:
        ASSERT_EQ(a.batch, collected++);
        ASSERT_LE(collected, contributed);
        break;
      case update:
        ASSERT_EQ(a.batch, updates++);
        ASSERT_LE(updates, contributed);
        break;
      default:
        FAIL();
    }
  }
  ASSERT_EQ(updates, batches);
  ASSERT_EQ(contributed, batches);
  ASSERT_EQ(collected, batches);
  ASSERT_EQ(static_cast<std::int64_t>(progress.size()),
            batches * shape.micro_batches * shape.chunks);
  for (const auto& [what, state] : progress) ASSERT_EQ(state, 3);
  const int limit = schedule.limits(stage, shape).in_flight;
  ASSERT_TRUE(declares_in_flight || most_kept <= limit) << most_kept << " > " << limit;
}

/// The shape that an accepted grid is for: the one without complaint.
PipelineShape shape_of(const Schedule& schedule) {
  for (int d = 1; d <= 6; ++d) {
    for (int m = 1; m <= 12; ++m) {
      for (int v = 1; v <= 4; ++v) {
        if (schedule.complaint({d, m, v}).empty()) return {d, m, v};
      }
    }
  }
  return {0, 0, 0};
}

/// Only UserError may leave the parser, and what it accepts must be sound. Returns whether
/// accepted.
bool survives(const std::string& text) {
  try {
    const Schedule schedule = parse_grid(text, "x.grid");
    const PipelineShape shape = shape_of(schedule);
    const bool declared = text.find("in_flight") != std::string::npos;
    for (int stage = 0; stage < shape.stages; ++stage) {
      expect_sound_stage(schedule, stage, shape, declared);
    }
    return true;
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("[x.grid"));
    return false;
  }
}

TEST(GridFile, RandomBytesAreRefused) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = static_cast<char>(random());
    if (i % 2 == 0) text = "stage 0:" + text;
    EXPECT_FALSE(survives(text));
  }
}

TEST(GridFile, RandomWordsAreRefusedOrSound) {
  const std::vector<std::string> words{
      "stage 0:", "stage 1:", "\n",      "\n",       "|",      "F0",    "F1",
      "B0",       "B1",       "X0",      "W0",       "U",      "U-1",   "F0'1",
      "B0'1",     ".",        "delay",   "1",        "chunks", "2",     "10000",
      "F10000",   "B-9999",   "U-10000", "versions", "0..1",   "stage", "micro_batches",
      "F1'255",   "#",        ":",       "'"};
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = "stage 0: F0 ";
    const std::size_t count = random() % 8;
    for (std::size_t j = 0; j < count; ++j) text += words[random() % words.size()] + " ";
    accepted += survives(text) ? 1 : 0;
  }
  EXPECT_GT(accepted, 10);
}

TEST(GridFile, MutatedGridsAreRefusedOrSound) {
  std::vector<std::string> texts;
  for (const Schedule& schedule : registry()) {
    texts.push_back(to_grid(schedule, {2, 4, schedule.default_chunks}));
  }
  constexpr std::string_view letters = "FBXWU|.'-0123456789 \n:#";
  std::mt19937 random(3);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = texts[random() % texts.size()];
    for (std::size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      const char letter = letters[random() % letters.size()];
      if (random() % 3 == 0) {
        text.erase(at, 1 + random() % 4);
      } else if (random() % 2 == 0) {
        text.insert(at, 1, letter);
      } else {
        text[at] = letter;
      }
    }
    accepted += survives(text) ? 1 : 0;
  }
  EXPECT_GT(accepted, 500);
  EXPECT_LT(accepted, 15'000);
}

TEST(GridFile, TheExamplesAreGrids) {
  const std::filesystem::path folder = PENSTOCK_TEST_DATA "/../examples/schedules";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".grid") continue;
    ++files;
    const Schedule schedule = load(entry.path().string());
    const PipelineShape shape = shape_of(schedule);
    ASSERT_GE(shape.stages, 2) << entry.path();
    EXPECT_NO_THROW(require_valid(schedule, shape)) << entry.path();
  }
  EXPECT_GE(files, 3);
  expect_same(load((folder / "2bw.grid").string()), find("2bw"), {4, 4, 1});
}

}  // namespace
}  // namespace penstock::schedule
