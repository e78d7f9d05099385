#pragma once
// What the tests of grid files have in common.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "schedule/grid_file.h"
#include "support/unrolled.h"

namespace penstock::schedule {

/// "F0.1@0" is the forward of micro-batch 1 of batch 0, reading W(0); C, A and U are contribute,
/// await_reduction and update, with their batch.
inline std::string letters(const std::vector<Action>& actions) {
  std::string text;
  for (const Action& a : actions) {
    const char* names = "?F??BXW?CAU???";
    text += names[static_cast<int>(a.kind)];
    text += std::to_string(a.batch);
    if (a.kind != ActionKind::contribute && a.kind != ActionKind::await_reduction &&
        a.kind != ActionKind::update) {
      text += "." + std::to_string(a.micro_batch) + "@" + std::to_string(a.version);
      if (a.chunk != 0) text += "'" + std::to_string(a.chunk);
    }
    text += ' ';
  }
  return text;
}

inline std::string letters(std::string_view text, int stage, PipelineShape shape,
                           std::int64_t batches) {
  return letters(tests::unroll(parse_grid(text, "x.grid"), stage, shape, batches));
}

/// The same schedule in this shape, whatever it is made from.
inline void expect_same(const Schedule& a, const Schedule& b, PipelineShape shape) {
  SCOPED_TRACE(testing::Message() << b.name << " d=" << shape.stages << " m=" << shape.micro_batches
                                  << " v=" << shape.chunks);
  EXPECT_EQ(a.placement, b.placement);
  EXPECT_EQ(a.stashes_weights, b.stashes_weights);
  EXPECT_EQ(a.updates_together, b.updates_together);
  EXPECT_EQ(a.reductions(shape), b.reductions(shape));
  EXPECT_EQ(a.complaint(shape), "");
  for (std::int64_t version = 1; version <= 9; ++version) {
    EXPECT_EQ(a.begun_at(version, shape), b.begun_at(version, shape)) << "W(" << version << ")";
  }
  for (int stage = 0; stage < shape.stages; ++stage) {
    const StageLimits x = a.limits(stage, shape);
    const StageLimits y = b.limits(stage, shape);
    EXPECT_EQ(x.least_delay, y.least_delay);
    EXPECT_EQ(x.most_delay, y.most_delay);
    EXPECT_EQ(x.versions, y.versions);
    EXPECT_EQ(x.gradient_buffers, y.gradient_buffers);
    EXPECT_EQ(x.in_flight, y.in_flight);
    for (const std::int64_t batches : {0, 1, 2, 3, 7}) {
      const auto expected = tests::unroll(b, stage, shape, batches);
      ASSERT_EQ(letters(tests::unroll(a, stage, shape, batches)), letters(expected))
          << "stage " << stage << ", " << batches << " batches";
      ASSERT_EQ(tests::unroll(a, stage, shape, batches), expected);
    }
  }
}

inline constexpr std::string_view two_stages_of_2bw = R"(
delay 1
versions 2 1
stage 0: F0 | F1  B0 U-1 F2 B1
stage 1:    | U-2 F0 B0  F1 B1
)";

/// The shape that an accepted grid is for.
inline PipelineShape shape_of(const Schedule& grid) { return *grid.only_shape; }

}  // namespace penstock::schedule
