#include "engine/stage_monitor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace penstock::engine {
namespace {

using namespace std::chrono_literals;
using schedule::Action;
using schedule::ActionKind;
using State = StageMonitor::State;
using Time = StageMonitor::Time;

const Time start{1000s};

/// Does one action from `begin` to `end`, in seconds after the start.
void act(StageMonitor& monitor, ActionKind kind, int begin, int end, int made = -1) {
  monitor.begin({.kind = kind}, start + std::chrono::seconds(begin));
  const Time now = start + std::chrono::seconds(end);
  monitor.end(now, made < 0 ? now : start + std::chrono::seconds(made));
}

TEST(StageMonitor, TellsTheActionAndSinceWhen) {
  StageMonitor monitor(start);
  EXPECT_EQ(monitor.snapshot().state, State::starting);
  EXPECT_EQ(monitor.snapshot().since, start);

  const Action forward{.kind = ActionKind::forward, .batch = 7, .micro_batch = 3, .version = 6};
  monitor.begin(forward, start + 2s);
  EXPECT_EQ(monitor.snapshot().state, State::acting);
  EXPECT_EQ(monitor.snapshot().action, forward);
  EXPECT_EQ(monitor.snapshot().since, start + 2s);
  EXPECT_EQ(monitor.snapshot().actions, 0);

  monitor.end(start + 5s, start + 5s);
  EXPECT_EQ(monitor.snapshot().state, State::between);
  EXPECT_EQ(monitor.snapshot().action, forward);
  EXPECT_EQ(monitor.snapshot().since, start + 5s);
  EXPECT_EQ(monitor.snapshot().actions, 1);

  monitor.leave(start + 6s);
  EXPECT_EQ(monitor.snapshot().state, State::left);
  EXPECT_EQ(monitor.snapshot().since, start + 6s);
}

TEST(StageMonitor, AddsUpSecondsByCause) {
  StageMonitor monitor(start);
  act(monitor, ActionKind::receive_activation, 0, 10, 7);  // waited 7 s, 3 s under way
  act(monitor, ActionKind::forward, 10, 12);
  act(monitor, ActionKind::send_activation, 12, 13);
  act(monitor, ActionKind::receive_gradient, 13, 33, 8);  // made before the stage asked for it
  act(monitor, ActionKind::backward, 33, 37);
  act(monitor, ActionKind::await_reduction, 37, 42);
  act(monitor, ActionKind::update, 42, 43);
  act(monitor, ActionKind::evaluate, 43, 73);
  const auto snapshot = monitor.snapshot();
  EXPECT_EQ(snapshot.actions, 8);
  EXPECT_EQ(snapshot.usage.wait_activation, 7);
  EXPECT_EQ(snapshot.usage.transfer, 3 + 20);
  EXPECT_EQ(snapshot.usage.work, 2 + 4 + 1);
  EXPECT_EQ(snapshot.usage.blocked, 1);
  EXPECT_EQ(snapshot.usage.wait_gradient, 0);
  EXPECT_EQ(snapshot.usage.wait_update, 5);
  EXPECT_EQ(snapshot.usage.evaluation, 30);
  EXPECT_EQ(snapshot.usage.idle, 0);
}

TEST(StageMonitor, TheWaitForACoreIsInNoPartOfTheUsage) {
  StageMonitor monitor(start);
  const Action forward{.kind = ActionKind::forward};
  monitor.wait_for_core(forward, start + 1s);
  EXPECT_EQ(monitor.snapshot().state, State::waiting_for_core);
  EXPECT_EQ(monitor.snapshot().action, forward);
  monitor.begin(forward, start + 4s);
  monitor.end(start + 6s, start + 6s);
  act(monitor, ActionKind::backward, 10, 11);  // a core was free
  EXPECT_EQ(monitor.snapshot().waited_for_core, 3);
  EXPECT_EQ(monitor.snapshot().usage.work, 3);
  EXPECT_EQ(monitor.snapshot().usage.seconds(), 3);
}

TEST(StageMonitor, AnyThreadSeesOneMoment) {
  StageMonitor monitor(start);
  std::atomic<bool> done = false;
  std::jthread stage([&] {
    for (int i = 0; i < 20'000; ++i) {
      monitor.begin({.kind = ActionKind::forward, .batch = i, .micro_batch = i, .version = i},
                    start + std::chrono::seconds(i));
      const Time now = start + std::chrono::seconds(i + 1);
      monitor.end(now, now);
    }
    done = true;
  });
  while (!done) {
    const auto seen = monitor.snapshot();
    if (seen.state == State::starting) continue;
    EXPECT_EQ(seen.action.batch, seen.action.version);
    const auto action_done = seen.state == State::between ? 1 : 0;
    EXPECT_EQ(seen.actions, seen.action.batch + action_done);
    EXPECT_EQ(seen.usage.work, static_cast<double>(seen.actions));
    EXPECT_EQ(seen.since, start + std::chrono::seconds(seen.actions));
  }
}

}  // namespace
}  // namespace penstock::engine
