#include "schedule/schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/symbolic.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using tests::unroll;
using enum ActionKind;

/// Micro-batches are counted over the run; what is on chunk 1 gets a '.
std::string letters(const Schedule& schedule, int stage, PipelineShape shape,
                    std::int64_t batches) {
  const std::map<ActionKind, char> work{
      {forward, 'F'}, {backward, 'B'}, {backward_input, 'X'}, {backward_weight, 'W'}};
  const std::map<ActionKind, char> batch_level{
      {contribute, 'C'}, {await_reduction, 'A'}, {update, 'U'}};
  std::string text;
  for (const auto& action : unroll(schedule, stage, shape, batches)) {
    if (const auto found = work.find(action.kind); found != work.end()) {
      text += fmt::format("{}{}{} ", found->second,
                          action.batch * shape.micro_batches + action.micro_batch,
                          std::string(static_cast<std::size_t>(action.chunk), '\''));
    } else {
      const std::int64_t number = action.kind == update ? action.version : action.batch;
      text += fmt::format("{}{} ", batch_level.at(action.kind), number);
    }
  }
  return text;
}

TEST(Schedule, ForwardsThenBackwards) {
  EXPECT_EQ(letters(find("gpipe"), 0, {2, 2}, 2), "F0 F1 B0 B1 C0 A0 U1 F2 F3 B2 B3 C1 A1 U2 ");
}

TEST(Schedule, FlushedOrderIsTheTextbooks) {
  EXPECT_EQ(letters(find("1f1b"), 0, {2, 3}, 2),
            "F0 F1 B0 F2 B1 B2 C0 A0 U1 F3 F4 B3 F5 B4 B5 C1 A1 U2 ");
  EXPECT_EQ(letters(find("1f1b"), 1, {2, 3}, 2),
            "F0 B0 F1 B1 F2 B2 C0 A0 U1 F3 B3 F4 B4 F5 B5 C1 A1 U2 ");
}

TEST(Schedule, InterleavedGoesThroughTheChunksInGroupsOfStages) {
  EXPECT_EQ(letters(find("interleaved"), 0, {2, 4, 2}, 1),
            "F0 F1 F0' F1' F2 B0' F3 B1' F2' B0 F3' B1 B2' B3' B2 B3 C0 A0 U1 ");
  EXPECT_EQ(letters(find("interleaved"), 1, {2, 4, 2}, 1),
            "F0 F1 F0' B0' F1' B1' F2 B0 F3 B1 F2' B2' F3' B3' B2 B3 C0 A0 U1 ");
}

TEST(Schedule, WeightGradientsFillTheGapsOfTheLastMicroBatches) {
  EXPECT_EQ(letters(find("zb-h1"), 0, {3, 4}, 1), "F0 F1 F2 X0 W0 F3 X1 W1 X2 W2 X3 W3 C0 A0 U1 ");
  EXPECT_EQ(letters(find("zb-h1"), 1, {3, 4}, 1), "F0 F1 X0 W0 F2 X1 F3 X2 W1 X3 W2 W3 C0 A0 U1 ");
  EXPECT_EQ(letters(find("zb-h1"), 2, {3, 4}, 1), "F0 X0 W0 F1 X1 F2 X2 F3 X3 W1 W2 W3 C0 A0 U1 ");
}

TEST(Schedule, TheVStartsAndEndsOnTheFirstStage) {
  EXPECT_EQ(letters(find("zb-v"), 0, {2, 4, 2}, 1),
            "F0 F1 F2 F0' X0' W0' F1' X1' W1' F3 X0 W0 F2' X2' W2' X1 W1 F3' X3' W3' X2 W2 X3 W3 "
            "C0 A0 U1 ");
  EXPECT_EQ(letters(find("zb-v"), 1, {2, 4, 2}, 1),
            "F0 F0' F1 F1' X0' W0' F2 X0 W0 F2' X1' W1' F3 X1 W1 F3' X2' W2' X2 X3' X3 W2 W3' W3 "
            "C0 A0 U1 ");
}

TEST(Schedule, DoubleBufferedOrderNeverFlushesAndUpdatesAsLateAsPossible) {
  EXPECT_EQ(letters(find("2bw"), 0, {2, 2}, 4),
            "F0 F1 B0 F2 B1 C0 F3 B2 A0 U1 F4 B3 C1 F5 B4 A1 U2 F6 B5 C2 F7 B6 B7 C3 A2 U3 A3 "
            "U4 ");
  EXPECT_EQ(letters(find("2bw"), 1, {2, 2}, 4),
            "F0 B0 F1 B1 C0 F2 B2 F3 B3 C1 A0 U1 F4 B4 F5 B5 C2 A1 U2 F6 B6 F7 B7 C3 A2 U3 A3 "
            "U4 ");
}

TEST(Schedule, ALongLeadIsTwiceTheShortOneAsFarAsTheMicroBatchesAllow) {
  EXPECT_EQ(letters(find("2bw-ahead"), 0, {2, 4}, 2),
            "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 C0 F6 B4 F7 B5 B6 B7 C1 A0 U1 A1 U2 ");
  EXPECT_EQ(letters(find("2bw-ahead"), 1, {2, 4}, 2), letters(find("2bw"), 1, {2, 4}, 2));
  const auto in_flight = [](PipelineShape shape) {
    std::vector<int> stages;
    for (int stage = 0; stage < shape.stages; ++stage) {
      stages.push_back(find("2bw-ahead").limits(stage, shape).in_flight);
    }
    return stages;
  };
  EXPECT_EQ(in_flight({4, 6}), (std::vector{7, 5, 3, 1}));
  EXPECT_EQ(in_flight({4, 5}), (std::vector{6, 5, 3, 1}));
  EXPECT_EQ(in_flight({4, 4}), (std::vector{5, 4, 3, 1}));
}

TEST(Schedule, LoneUpdatesFollowTheirBatchAndCollectSumsLater) {
  for (const auto* name : {"pipedream", "paci"}) {
    EXPECT_EQ(letters(find(name), 0, {2, 1}, 4),
              "F0 F1 B0 C0 U1 F2 B1 C1 U2 A0 F3 B2 C2 U3 A1 B3 C3 U4 A2 A3 ");
    EXPECT_EQ(letters(find(name), 1, {2, 1}, 4),
              "F0 B0 C0 U1 F1 B1 C1 U2 A0 F2 B2 C2 U3 A1 F3 B3 C3 U4 A2 A3 ");
  }
}

TEST(Schedule, UnknownNameListsTheKnownOnes) {
  try {
    find("1f2b");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "[schedule] no schedule is called '1f2b'; choose one of 1f1b, 2bw, 2bw-ahead, gpipe, "
        "interleaved, zb-h1, zb-v, pipedream, paci");
  }
}

std::string complaint(std::string_view name, PipelineShape shape) {
  try {
    check_shape(find(name), shape);
  } catch (const UserError& error) {
    return error.what();
  }
  return "none";
}

TEST(Schedule, ShapesThatCannotRunAreRefusedWithTheNearestThatCan) {
  EXPECT_EQ(complaint("1f1b", {0, 2}),
            "[schedule] stages, micro-batches and chunks are 0, 2 and 1; set each to 1 or more");
  EXPECT_EQ(complaint("gpipe", {2, 2, 2}),
            "[schedule] schedule 'gpipe' has one chunk per stage, but pipeline.chunks = 2; set "
            "pipeline.chunks = 1");
  EXPECT_EQ(complaint("2bw", {4, 3}),
            "[schedule] schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, but they "
            "are 3 and 4; set pipeline.micro_batches = 4 or more");
  EXPECT_EQ(complaint("2bw-ahead", {4, 3}),
            "[schedule] schedule '2bw-ahead' needs pipeline.micro_batches >= pipeline.stages, but "
            "they are 3 and 4; set pipeline.micro_batches = 4 or more");
  EXPECT_EQ(complaint("interleaved", {4, 8, 1}),
            "[schedule] schedule 'interleaved' needs pipeline.chunks >= 2, but it is 1; set "
            "pipeline.chunks = 2, or choose '1f1b'");
  EXPECT_EQ(complaint("interleaved", {4, 6, 2}),
            "[schedule] schedule 'interleaved' needs pipeline.micro_batches to be a multiple of "
            "pipeline.stages, but they are 6 and 4; set pipeline.micro_batches = 4 or 8");
  EXPECT_EQ(complaint("interleaved", {4, 3, 2}),
            "[schedule] schedule 'interleaved' needs pipeline.micro_batches to be a multiple of "
            "pipeline.stages, but they are 3 and 4; set pipeline.micro_batches = 4");
  EXPECT_EQ(complaint("zb-v", {4, 3, 1}),
            "[schedule] schedule 'zb-v' has 2 chunks per stage, but pipeline.chunks = 1; set "
            "pipeline.chunks = 2");
  EXPECT_EQ(complaint("2bw", {4, 4}), "none");
}

/// The version that the forward of micro-batch i of the run reads, from the schedules' definitions.
std::int64_t version_read(const Schedule& schedule, int stage, PipelineShape shape,
                          std::int64_t i) {
  const std::int64_t batch = i / shape.micro_batches;
  if (schedule.name == "2bw" || schedule.name == "2bw-ahead") {
    return std::max<std::int64_t>(batch - 1, 0);
  }
  if (schedule.updates_together) return batch;
  const std::int64_t behind = std::max<std::int64_t>(i - (shape.stages - 1 - stage), 0);
  return behind / shape.micro_batches;
}

TEST(Schedule, ForwardsAndBackwardsReadTheDefinedVersions) {
  for (const auto& schedule : registry()) {
    for (int d = 1; d <= 6; ++d) {
      for (int m = 1; m <= 12; ++m) {
        const PipelineShape shape{d, m, schedule.default_chunks};
        if (!schedule.complaint(shape).empty()) continue;
        SCOPED_TRACE(fmt::format("{} d={} m={}", schedule.name, d, m));
        for (int s = 0; s < d; ++s) {
          std::int64_t newest = 0;
          for (const auto& action : unroll(schedule, s, shape, 5)) {
            const std::int64_t i = action.batch * m + action.micro_batch;
            const bool reads_stash = schedule.stashes_weights && action.kind != contribute &&
                                     action.kind != await_reduction && action.kind != update;
            if (action.kind == forward || reads_stash) {
              EXPECT_EQ(action.version, version_read(schedule, s, shape, i)) << describe(action);
            } else if (action.kind == backward) {
              EXPECT_EQ(action.version, newest) << describe(action);
            } else if (action.kind == update) {
              newest = action.version;
            }
          }
          EXPECT_EQ(newest, 5);
        }
      }
    }
  }
}

TEST(Schedule, NothingIsDoneInARunWithoutBatches) {
  for (const auto& schedule : registry()) {
    EXPECT_EQ(letters(schedule, 0, {3, 3, schedule.default_chunks}, 0), "") << schedule.name;
  }
}

TEST(Schedule, SynchronousSchedulesTrainTheSameModel) {
  const PipelineShape shape{3, 6};
  const auto outcome = [](std::string_view name, PipelineShape of) {
    const auto& schedule = find(name);
    return tests::symbolic_outcome(schedule, of, lower(schedule, of, 3, {2, 2}));
  };
  const auto expected = outcome("1f1b", shape);
  ASSERT_TRUE(expected);
  EXPECT_EQ(outcome("gpipe", shape), expected);
  EXPECT_EQ(outcome("zb-h1", shape), expected);
  EXPECT_NE(outcome("2bw", shape), expected);
  EXPECT_EQ(outcome("2bw-ahead", shape), outcome("2bw", shape));
  EXPECT_NE(outcome("pipedream", shape), expected);
  EXPECT_NE(outcome("paci", shape), outcome("pipedream", shape));
}

TEST(Schedule, OutcomesDoNotDependOnTheOrderOfExecution) {
  for (const auto& schedule : registry()) {
    const PipelineShape shape{4, 4, schedule.default_chunks};
    const auto lists = lower(schedule, shape, 6, {2, 5});
    const auto expected = tests::symbolic_outcome(schedule, shape, lists, 1);
    ASSERT_TRUE(expected) << schedule.name;
    for (std::uint64_t seed = 2; seed < 12; ++seed) {
      EXPECT_EQ(tests::symbolic_outcome(schedule, shape, lists, seed), expected) << schedule.name;
    }
  }
}

TEST(Schedule, EveryPieceHasOnePlace) {
  const PipelineShape shape{4, 4, 3};
  for (const auto placement : {Placement::loop, Placement::v}) {
    for (int piece = 0; piece < shape.pieces(); ++piece) {
      EXPECT_EQ(piece_at(placement, shape, place_of(placement, shape, piece)), piece);
    }
  }
  EXPECT_EQ(place_of(Placement::loop, shape, 4), (Place{0, 1}));
  EXPECT_EQ(place_of(Placement::v, shape, 4), (Place{3, 1}));
  EXPECT_EQ(place_of(Placement::v, shape, 8), (Place{0, 2}));
}

}  // namespace
}  // namespace penstock::schedule
