#include "plan/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "plan/example.h"
#include "plan/message_of.h"

namespace penstock::plan {
namespace {

TEST(CompareTest, WithoutLatencyItIsTheBubble) {
  const auto workload = equal_units(4, 1);
  const auto cluster = ideal(4);
  CompareRequest request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.stages = 4;
  request.latencies_us = {0};
  request.others = {"1f1b", "zb-v"};
  const auto result = compare(request);
  EXPECT_EQ(result.micro_batches, (std::vector<int>{4, 8, 16, 32}));
  for (std::size_t j = 0; j < 4; ++j) {
    const double m = result.micro_batches[j];
    EXPECT_NEAR(result.step_seconds[0][j], 3 * m, 1e-9);
    EXPECT_NEAR(result.tables[0].ratio[0][j], (m + 3) / m, 1e-9);
    // Four units are no eight pieces.
    EXPECT_TRUE(std::isnan(result.tables[1].ratio[0][j]));
  }
}

TEST(CompareTest, LatencySlowsTheFlushedScheduleMore) {
  const auto workload = equal_units(4, 1);
  const auto cluster = ideal(4);
  CompareRequest request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.stages = 4;
  request.latencies_us = {0, 1e5};
  request.micro_batches = {16};
  request.others = {"1f1b"};
  const auto result = compare(request);
  EXPECT_GT(result.tables[0].ratio[1][0], result.tables[0].ratio[0][0]);
  EXPECT_GE(result.step_seconds[1][0], result.step_seconds[0][0]);
}

TEST(CompareTest, RefusesWhatCannotBe) {
  const auto workload = equal_units(4, 1);
  const auto cluster = ideal(4);
  CompareRequest request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.stages = 4;
  request.micro_batches = {3};
  EXPECT_EQ(message_of([&] { (void)compare(request); }),
            "[schedule] schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, but they "
            "are 3 and 4; set pipeline.micro_batches = 4 or more");
  request.stages = 6;
  EXPECT_NE(message_of([&] { (void)compare(request); }).find("set --stages 4 or fewer"),
            std::string::npos);
}

TEST(CompareTest, RefusesBatchesThatAreTooLarge) {
  const auto workload = equal_units(4, 1);
  const auto cluster = ideal(4);
  CompareRequest request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.stages = 2;
  request.micro_batches = {1 << 19};
  EXPECT_EQ(message_of([&] { (void)compare(request); }),
            "[plan] 524288 micro-batches for 4 pieces of the model, but their product can be at "
            "most 1048576 for a plan; set --micro-batches 262144 or fewer");
  request.micro_batches = {8};
  request.micro_batch = std::int64_t{1} << 62;
  EXPECT_EQ(message_of([&] { (void)compare(request); }),
            "[plan] 8 micro-batches of 4611686018427387904 sequences are a batch of more than "
            "1073741824 sequences; set --micro-batch 134217728 or less");
  request.micro_batches.clear();
  request.stages = std::numeric_limits<int>::max();
  EXPECT_NE(message_of([&] { (void)compare(request); }).find("set --stages 4 or fewer"),
            std::string::npos);
}

}  // namespace
}  // namespace penstock::plan
