// Whatever the stages' actions are delayed by, the weights are the same.

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "engine/pure/fake_run.h"
#include "engine/pure/random_delays.h"

namespace penstock::tests {
namespace {

constexpr int interleavings = under_thread_sanitizer() ? 100 : 1000;

void expect_same(const FakeRun& run, int seed, const FakeResult& expected) {
  RandomDelays delays(static_cast<std::uint64_t>(seed), run.shape.stages);
  RunOptions options;
  options.before_action = std::ref(delays);
  // Some runs on cores that are shared, some with copies taken on the way.
  if (seed % 4 == 1) options.cores = 1 + seed / 4 % run.shape.stages;
  if (seed % 4 == 2) options.capture_due = [](std::int64_t) { return true; };
  try {
    EXPECT_EQ(run_fake(run, options), expected) << text(run) << ", seed " << seed;
  } catch (const std::exception& error) {
    ADD_FAILURE() << text(run) << ", seed " << seed << ": " << error.what();
  }
}

void expect_same_in_all_interleavings(const FakeRun& run, int count) {
  const auto expected = plain_loop(run);
  std::atomic<int> seeds = 0;
  // Several at a time: stages sleep and wait most of the time.
  std::vector<std::jthread> lanes;
  for (int lane = 0; lane < 6; ++lane) {
    lanes.emplace_back([&] {
      for (int seed = seeds++; seed < count && !testing::Test::HasFailure(); seed = seeds++) {
        expect_same(run, seed, expected);
      }
    });
  }
}

/// Tied gradients, evaluations and two updates that are skipped.
class Interleavings : public testing::TestWithParam<int> {};

TEST_P(Interleavings, Of2bwGiveTheSameWeights) {
  const int d = GetParam();
  const FakeRun run{.shape = {d, d < 5 ? d + 1 : d},
                    .batches = 4,
                    .evaluation = {.every = 3, .micro_batches = 1},
                    .poisons = {{.batch = 1, .layer = d - 1}, {.batch = 2, .layer = 0}}};
  expect_same_in_all_interleavings(run, interleavings);
}

INSTANTIATE_TEST_SUITE_P(Depths, Interleavings, testing::Range(2, 9));

TEST(InterleavingsOfOthers, OfEveryScheduleGiveTheSameWeights) {
  for (const auto& schedule : schedule::registry()) {
    const FakeRun run{.schedule = schedule.name,
                      .shape = {4, 8, schedule.default_chunks},
                      .batches = 4,
                      .evaluation = {.every = 2, .micro_batches = 2},
                      .poisons = {{.batch = 1, .layer = 2}}};
    expect_same_in_all_interleavings(run, interleavings / 40);
  }
}

TEST(InterleavingsOfOthers, WithPhasesWithoutDelayGiveTheSameWeights) {
  const FakeRun run{.shape = {4, 5}, .batches = 7, .sync = 2, .final_begin = 5};
  expect_same_in_all_interleavings(run, interleavings / 10);
}

}  // namespace
}  // namespace penstock::tests
