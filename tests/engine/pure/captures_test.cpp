// Captures disturb nothing, and a run goes on from each as if it had never stopped.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/pure/fake_run.h"
#include "engine/pure/random_delays.h"

namespace penstock::tests {
namespace {

/// What the run evaluates behind the cut.
FakeResult behind(FakeResult result, std::int64_t cut) {
  std::erase_if(result.evaluations, [cut](const auto& of) { return of.first < cut; });
  return result;
}

/// Every schedule in its shapes, and 2bw with phases without delay. Some batches are skipped.
std::vector<FakeRun> runs(int most_stages) {
  std::vector<FakeRun> all;
  const auto add = [&](FakeRun run) {
    // Where stage 0 is far ahead, the first cut is regular in a long run only.
    run.batches = 5 + schedule::find(run.schedule).begun_at(1, run.shape);
    run.evaluation = {.every = 3, .micro_batches = 2};
    run.poisons = {{.batch = 2, .layer = 0}, {.batch = 3, .layer = run.model().layers - 1}};
    all.push_back(run);
  };
  for (const auto& schedule : schedule::registry()) {
    for (const auto shape : shapes_of(schedule, most_stages)) {
      add({.schedule = schedule.name, .shape = shape});
    }
  }
  for (const auto shape : shapes_of(schedule::find("2bw"), most_stages)) {
    for (const auto& [sync, final_begin] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {2, schedule::no_final_phase}, {0, 5}, {1, 2}, {2, 6}, {3, 3}}) {
      add({.shape = shape, .sync = sync, .final_begin = final_begin});
    }
  }
  return all;
}

TEST(Captures, ChangeNothing) {
  int cuts = 0;
  for (const FakeRun& run : runs(8)) {
    const auto expected = plain_loop(run);
    for (const std::uint64_t seed : {1, 2}) {
      const auto random = [seed](std::int64_t version) {
        return (static_cast<std::uint64_t>(version) * 2654435761 + seed * 40503) / 64 % 3 == 0;
      };
      const auto [result, captures] = run_captured(run, {.capture_due = random});
      EXPECT_EQ(result, expected) << text(run);
      cuts += static_cast<int>(captures.size());
    }
  }
  EXPECT_GT(cuts, 500);
}

/// Restores every cut and, from there, one cut behind it.
void expect_that_every_cut_goes_on(const FakeRun& run) {
  const auto expected = plain_loop(run);
  const auto first = run_captured(run);
  EXPECT_EQ(first.result, expected);
  EXPECT_GE(first.captures.size(), 4U);
  for (const auto& [cut, states] : first.captures) {
    SCOPED_TRACE(fmt::format("cut at W({})", cut));
    ASSERT_EQ(states.size(), static_cast<std::size_t>(run.shape.stages));
    for (const auto& state : states) ASSERT_EQ(state.cut, cut) << "captured by every stage";
    const auto second = run_captured(run, {.restore = &states});
    ASSERT_EQ(second.result, behind(expected, cut));
    const auto later = second.captures.upper_bound(cut);
    ASSERT_EQ(later == second.captures.end(), cut == first.captures.rbegin()->first);
    if (later == second.captures.end()) continue;
    const auto& same_states = first.captures.at(later->first);
    for (std::size_t s = 0; s < states.size(); ++s) {
      EXPECT_TRUE(same(later->second[s], same_states[s])) << "stage " << s;
    }
    const auto third = run_fake(run, {.restore = &later->second});
    ASSERT_EQ(third, behind(expected, later->first)) << "restored twice";
  }
}

TEST(Captures, ARunGoesOnFromEveryCut) {
  for (const FakeRun& run : runs(under_thread_sanitizer() ? 3 : 8)) {
    SCOPED_TRACE(text(run));
    expect_that_every_cut_goes_on(run);
    if (HasFatalFailure()) return;
  }
}

TEST(Captures, ADisturbedRunIsCapturedTheSame) {
  for (const auto* name : {"2bw", "pipedream", "zb-v"}) {
    const int chunks = schedule::find(name).default_chunks;
    const FakeRun run{.schedule = name, .shape = {4, 4, chunks}, .batches = 6};
    const auto expected = run_captured(run);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      RandomDelays delays(seed, run.shape.stages);
      const auto [result, captures] = run_captured(run, {.before_action = std::ref(delays)});
      EXPECT_EQ(result, expected.result);
      ASSERT_EQ(captures.size(), expected.captures.size()) << text(run);
      for (const auto& [cut, states] : captures) {
        for (std::size_t s = 0; s < states.size(); ++s) {
          EXPECT_TRUE(same(states[s], expected.captures.at(cut)[s])) << text(run) << " at " << cut;
        }
      }
    }
  }
}

TEST(Captures, AStoppedRunGoesOnFromItsStopCut) {
  for (FakeRun run : runs(5)) {
    run.batches += 10;
    SCOPED_TRACE(text(run));
    const auto expected = plain_loop(run);
    for (const std::int64_t stop_at : {0, 1, 4}) {
      const auto never = [](std::int64_t) { return false; };
      const auto stopped = run_captured(run, {.capture_due = never, .stop_at = stop_at});
      ASSERT_EQ(stopped.captures.size(), 1U) << "asked at batch " << stop_at;
      const auto& [cut, states] = *stopped.captures.begin();
      EXPECT_EQ(cut, stop_at + 1);
      EXPECT_EQ(run_fake(run, {.restore = &states}), behind(expected, cut));
      FakeRun shorter = run;
      shorter.batches = run.make_schedule().begun_at(cut, run.shape);
      EXPECT_EQ(stopped.result, plain_loop(shorter)) << "every started batch is finished";
    }
  }
}

TEST(Captures, AStopRightBeforeTheEndOnlyEndsTheRun) {
  const FakeRun run{.shape = {3, 3}, .batches = 8};
  const auto never = [](std::int64_t) { return false; };
  const auto stopped = run_captured(run, {.capture_due = never, .stop_at = 6});
  EXPECT_TRUE(stopped.captures.empty());
  EXPECT_EQ(stopped.result, plain_loop(run));
}

}  // namespace
}  // namespace penstock::tests
