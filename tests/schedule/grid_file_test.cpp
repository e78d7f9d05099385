#include "schedule/grid_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/compute.h"
#include "schedule/grids.h"
#include "schedule/validate.h"
#include "support/temporary_folder.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using testing::HasSubstr;
using enum ActionKind;

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
  EXPECT_EQ(
      load_error("2wb"),
      "[schedule] no schedule is called '2wb'; did you mean '2bw'? choose one of 1f1b, 2bw, "
      "2bw-ahead, gpipe, interleaved, zb-h1, zb-v, pipedream, paci, or a grid file, FILE.grid");
  EXPECT_EQ(
      load_error("something"),
      "[schedule] no schedule is called 'something'; choose one of 1f1b, 2bw, 2bw-ahead, gpipe, "
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
    EXPECT_EQ(load_error(name),
              "[schedule] names of grid files end in .grid, but '" + name +
                  "' does not; rename the file, or choose one of 1f1b, 2bw, 2bw-ahead, "
                  "gpipe, interleaved, zb-h1, zb-v, pipedream, paci");
  }
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
