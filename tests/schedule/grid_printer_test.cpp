// To grid files, and back again.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/compute.h"
#include "schedule/grid_file.h"
#include "schedule/grids.h"

namespace penstock::schedule {
namespace {

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

}  // namespace
}  // namespace penstock::schedule
