#include "engine/stage_profiler.h"

#include <gmock/gmock.h>

#include <chrono>
#include <deque>
#include <string>

#include "engine/pure/fake_run.h"

namespace penstock::engine {
namespace {

using schedule::ActionKind;
using std::chrono::seconds;
using tests::FakeRun;

const OperationTotal& total(const StageProfile& profile, const std::string& part,
                            const std::string& name) {
  for (const auto& found : profile.operations) {
    if (found.part == part && found.name == name) return found;
  }
  throw std::out_of_range(part + ": " + name);
}

schedule::Action action(ActionKind kind) { return {.kind = kind}; }

void act(StageProfiler& profiler, ActionKind kind) {
  const StageProfiler::Scope scope(&profiler, action(kind));
  const OperationTimer timer("inside", {.flops = 10});
}

/// Made so far, each one second after the other.
void update(StageProfiler& profiler, int made) {
  StageMonitor::Snapshot doing;
  doing.usage.work = 0.5 * made;
  doing.usage.wait_gradient = 0.25 * made * made;
  doing.waited_for_core = 0.125 * made;
  profiler.updated(StageMonitor::Time(seconds(made)), doing);
}

TEST(StageProfiler, LeavesOutTheFirstAndTheLastUpdates) {
  StageProfiler profiler;
  for (int made = 1; made <= 8; ++made) {
    for (int call = 0; call < made; ++call) act(profiler, ActionKind::forward);
    update(profiler, made);
  }
  const auto profile = profiler.result(5).value();
  EXPECT_EQ(profile.stage, 5);
  EXPECT_EQ(profile.updates, 4);  // 3 to 6
  EXPECT_EQ(profile.seconds, 4);
  EXPECT_EQ(profile.usage.work, 2);
  EXPECT_EQ(profile.usage.wait_gradient, 0.25 * (36 - 4));
  EXPECT_EQ(profile.waited_for_core, 0.5);
  EXPECT_EQ(total(profile, "rest", "inside").calls, 3 + 4 + 5 + 6);
  EXPECT_EQ(total(profile, "rest", "inside").work.flops, 180);
  EXPECT_EQ(total(profile, "rest", "forward").calls, 18);
}

TEST(StageProfiler, AnOperationThatCameLaterCountsFromItsFirstCall) {
  StageProfiler profiler;
  for (int made = 1; made <= 7; ++made) {
    act(profiler, ActionKind::forward);
    if (made == 1) act(profiler, ActionKind::backward_weight);
    if (made == 4) act(profiler, ActionKind::capture);
    update(profiler, made);
  }
  const auto profile = profiler.result(0).value();
  EXPECT_EQ(total(profile, "rest", "capture").calls, 1);
  EXPECT_THROW(total(profile, "rest", "backward_weight"), std::out_of_range);
}

TEST(StageProfiler, NeedsFiveUpdates) {
  StageProfiler profiler;
  for (int made = 1; made <= 4; ++made) update(profiler, made);
  EXPECT_FALSE(profiler.result(0));
  update(profiler, 5);
  ASSERT_TRUE(profiler.result(0));
  EXPECT_EQ(profiler.result(0)->updates, 1);
  EXPECT_EQ(profiler.result(0)->seconds, 1);
}

TEST(StageProfiler, WaitsAndEvaluationsAreNotTimed) {
  StageProfiler profiler;
  for (int made = 1; made <= 6; ++made) {
    for (const auto kind : {ActionKind::evaluate, ActionKind::receive_gradient,
                            ActionKind::await_reduction, ActionKind::send_activation}) {
      act(profiler, kind);
    }
    update(profiler, made);
  }
  EXPECT_TRUE(profiler.result(0)->operations.empty());
}

TEST(StageProfiler, WithoutAProfilerNothingIsTimed) {
  OperationProfile mine;
  const OperationProfile::Recording recording(mine);
  { const StageProfiler::Scope scope(nullptr, action(ActionKind::forward)); }
  EXPECT_TRUE(mine.entries().empty());
}

std::deque<StageProfiler> profilers_of(const FakeRun& run) {
  std::deque<StageProfiler> profilers(static_cast<std::size_t>(run.shape.stages));
  tests::run_fake(run, {.profilers = &profilers});
  return profilers;
}

TEST(StageProfiler, EveryUpdateCountedHasAllOfItsActions) {
  for (const std::string schedule : {"2bw", "1f1b", "gpipe", "pipedream"}) {
    FakeRun run{.schedule = schedule, .shape = {.stages = 3, .micro_batches = 4}, .batches = 12};
    if (schedule == "pipedream") run.shape.micro_batches = 1;
    run.evaluation = {.every = 4, .micro_batches = 2};
    const auto profilers = profilers_of(run);
    for (int s = 0; s < 3; ++s) {
      SCOPED_TRACE(schedule + ", stage " + std::to_string(s));
      const auto profile = profilers[static_cast<std::size_t>(s)].result(s).value();
      EXPECT_EQ(profile.updates, 8);
      EXPECT_EQ(total(profile, "rest", "forward").calls, 8 * run.shape.micro_batches);
      EXPECT_EQ(total(profile, "rest", "backward").calls, 8 * run.shape.micro_batches);
      EXPECT_EQ(total(profile, "rest", "contribute").calls, 8);
      EXPECT_EQ(total(profile, "rest", "update").calls, 8);
      EXPECT_THROW(total(profile, "rest", "evaluate"), std::out_of_range);
    }
  }
}

TEST(StageProfiler, OperationsAndWaitsAreWithinTheTime) {
  const auto profilers = profilers_of({.shape = {.stages = 2, .micro_batches = 4}});
  for (const auto& profiler : profilers) {
    const auto profile = profiler.result(0).value();
    double timed = 0;
    for (const auto& operation : profile.operations) timed += operation.seconds;
    EXPECT_GT(timed, 0);
    EXPECT_LE(timed, profile.usage.work);
    EXPECT_LE(profile.usage.seconds(), profile.seconds);
  }
}

}  // namespace
}  // namespace penstock::engine
