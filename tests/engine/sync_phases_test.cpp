// First and last updates without delay, each equal to its definition on one stage.

#include <gtest/gtest.h>

#include <algorithm>

#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::run_plain_loop;
using tests::small_config;

TEST(SyncPhases, EqualTheLoopThatReadsTheseVersions) {
  constexpr std::int64_t updates = 24;
  for (const auto& [first, last] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 0}, {1, 0}, {9, 0}, {0, 1}, {0, 9}, {5, 6}, {1, 1}, {12, 12}, {23, 0}, {24, 0}}) {
    const auto read = [first = first, last = last](std::int64_t batch) {
      const bool synchronous = batch < first || batch >= updates - last;
      return synchronous ? batch : std::max(batch - 1, first);
    };
    for (const int stages : {1, 3}) {
      SCOPED_TRACE(testing::Message() << first << " + " << last << ", d=" << stages);
      const auto c = small_config({"pipeline.stages=" + std::to_string(stages),
                                   "pipeline.sync_steps=" + std::to_string(first),
                                   "pipeline.final_sync_steps=" + std::to_string(last),
                                   "model.tied=true", "correction.name=error_feedback"});
      const auto run = run_engine(c);
      const auto reference = run_plain_loop(c, read);
      EXPECT_EQ(run.losses, reference.losses);
      EXPECT_EQ(run.norms, reference.norms);
      EXPECT_EQ(run.hash(), reference.hash());
    }
  }
}

TEST(SyncPhases, EveryLengthGivesOtherWeights) {
  std::vector<std::string> hashes;
  for (const char* const first : {"0", "1", "2", "10", "24"}) {
    const auto c = small_config({"pipeline.stages=2", "pipeline.sync_steps=" + std::string(first)});
    hashes.push_back(run_engine(c).hash());
  }
  // Delayed or not, batch 0 reads W(0): one synchronous update alone changes that of batch 1.
  std::ranges::sort(hashes);
  EXPECT_EQ(std::ranges::unique(hashes).begin(), hashes.end());
}

}  // namespace
}  // namespace penstock::engine
