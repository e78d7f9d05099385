#include "engine/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

namespace penstock::engine {
namespace {

using namespace std::chrono_literals;
using schedule::Action;
using schedule::ActionKind;
using State = StageMonitor::State;
using Time = StageMonitor::Time;
using Verdict = StallDetector::Verdict;
using testing::HasSubstr;
using testing::Not;

const Time start{1000s};
const Action forward{.kind = ActionKind::forward, .batch = 7, .micro_batch = 3, .version = 6};
const Action receive{
    .kind = ActionKind::receive_activation, .batch = 7, .micro_batch = 3, .version = 6};
const Action send{.kind = ActionKind::send_activation, .batch = 7, .micro_batch = 4, .version = 6};

/// Stages whose state is set by hand, looked at every second of a made-up clock. The limit is 10 s.
class StallDetectorTest : public testing::Test {
 protected:
  explicit StallDetectorTest() : detector_(10s, 1s) {}

  void add_stages(int count) {
    for (int s = 0; s < count; ++s)
      stages_.push_back({s, {.state = State::starting, .since = now_}});
  }

  /// From now on.
  void set(std::size_t stage, State state, Action action = {}) {
    auto& doing = stages_[stage].doing;
    doing.state = state;
    doing.action = action;
    doing.since = now_;
    ++doing.actions;
  }

  /// What the looks of the next seconds said, without quiet ones, each behind its second.
  std::vector<std::pair<int, Verdict>> watch(int seconds) {
    std::vector<std::pair<int, Verdict>> told;
    for (int i = 1; i <= seconds; ++i) {
      now_ += 1s;
      const auto verdict = detector_.look(stages_, now_);
      if (verdict != Verdict::quiet) told.emplace_back(i, verdict);
    }
    return told;
  }

  using Told = std::vector<std::pair<int, Verdict>>;
  Time now_ = start;
  std::vector<WatchedStage> stages_;
  StallDetector detector_;
};

TEST_F(StallDetectorTest, AnActionMayTakeUpToTheLimit) {
  add_stages(2);
  set(1, State::acting, receive);
  for (int action = 0; action < 20; ++action) {
    set(0, State::acting, forward);
    EXPECT_EQ(watch(10), Told{}) << action;  // stage 1 waits 200 s meanwhile
  }
}

TEST_F(StallDetectorTest, TellsOfAnActionBeyondTheLimitAndAgainWhenItHasDoubled) {
  add_stages(2);
  set(0, State::acting, forward);
  set(1, State::acting, receive);
  EXPECT_EQ(watch(100), (Told{{11, Verdict::stalled},
                              {22, Verdict::stalled},
                              {44, Verdict::stalled},
                              {88, Verdict::stalled}}));
  set(0, State::between, forward);
  EXPECT_EQ(watch(5), (Told{{1, Verdict::moves_again}}));
  EXPECT_EQ(detector_.stalled_for(), 100s);
  set(0, State::acting, forward);
  EXPECT_EQ(watch(21), (Told{{11, Verdict::stalled}}));  // a stall of its own
}

TEST_F(StallDetectorTest, AnotherStageAtWorkDoesNotHideOneThatComputesForever) {
  add_stages(2);
  set(1, State::acting, forward);
  Told told;
  for (int second = 1; second <= 11; ++second) {
    set(0, State::acting, forward);
    if (!watch(1).empty()) told.emplace_back(second, Verdict::stalled);
  }
  EXPECT_EQ(told, (Told{{11, Verdict::stalled}}));
  EXPECT_THAT(detector_.cause_text(), HasSubstr("stage 1 has been in forward"));
}

TEST_F(StallDetectorTest, AllWaiting) {
  add_stages(3);
  set(0, State::acting, receive);
  EXPECT_EQ(watch(8), Told{});
  set(1, State::between, forward);
  set(2, State::waiting_for_core, forward);
  EXPECT_EQ(watch(12), (Told{{11, Verdict::stalled}}));
  EXPECT_EQ(detector_.cause_text(), "every stage waits");
}

TEST_F(StallDetectorTest, StagesThatHaveLeftAreNoStall) {
  add_stages(2);
  set(0, State::left);
  set(1, State::acting, forward);
  EXPECT_EQ(watch(8), Told{});
  set(1, State::left);
  EXPECT_EQ(watch(1000), Told{});
}

TEST_F(StallDetectorTest, AStalledRunThatEndsDoesNotGoOn) {
  add_stages(1);
  set(0, State::acting, forward);
  EXPECT_EQ(watch(12), (Told{{11, Verdict::stalled}}));
  set(0, State::left);
  EXPECT_EQ(watch(100), Told{});
}

TEST_F(StallDetectorTest, AStageThatHasLeftDoesNotHideThatTheOthersWait) {
  add_stages(2);
  set(0, State::left);
  set(1, State::acting, receive);
  EXPECT_EQ(watch(12), (Told{{11, Verdict::stalled}}));
}

TEST_F(StallDetectorTest, TimeInWhichTheProcessStoodStillDoesNotCount) {
  add_stages(1);
  set(0, State::acting, forward);
  EXPECT_EQ(watch(3), Told{});
  now_ += 10h;
  EXPECT_EQ(watch(6), Told{});  // 3 s, 2 s for the gap, 5 s
  EXPECT_EQ(watch(1), (Told{{1, Verdict::stalled}}));
  EXPECT_EQ(detector_.stalled_for(), 11s);
  // Nor where the action began just before.
  set(0, State::acting, forward);
  now_ += 10h;
  EXPECT_EQ(watch(9), (Told{{1, Verdict::moves_again}}));
  EXPECT_EQ(watch(1), (Told{{1, Verdict::stalled}}));
}

TEST_F(StallDetectorTest, NamesThoseAtWorkFirstAndThenWhatTheOthersWaitFor) {
  add_stages(5);
  set(0, State::acting, send);
  set(2, State::acting, receive);
  set(3, State::left);
  watch(5);
  set(1, State::acting, forward);
  watch(2);
  set(4, State::waiting_for_core, forward);
  watch(11);
  EXPECT_EQ(detector_.cause_text(),
            "stage 1 has been in forward of micro-batch 3 of batch 7 (weights W(6)) for 13 s");
  EXPECT_EQ(detector_.stages_text(),
            "stage 1: in forward of micro-batch 3 of batch 7 (weights W(6)) for 13 s, "
            "1 actions done\n"
            "stage 0: in send_activation of micro-batch 4 of batch 7 (weights W(6)) for 18 s, "
            "1 actions done\n"
            "stage 2: in receive_activation of micro-batch 3 of batch 7 (weights W(6)) for 18 s, "
            "1 actions done\n"
            "stage 3: at its end for 18 s, 1 actions done\n"
            "stage 4: waiting for a core, for forward of micro-batch 3 of batch 7 (weights W(6)) "
            "for 11 s, 1 actions done\n");
}

/// Texts of a real watchdog.
class Reports {
 public:
  void add(const std::string& text) {
    const std::lock_guard lock(mutex_);
    texts_.push_back(text);
    changed_.notify_all();
  }

  /// The report of that number, or "" where it does not come in time.
  std::string wait_for(std::size_t number) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, 30s, [&] { return texts_.size() > number; });
    return came ? texts_[number] : "";
  }

  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return texts_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
};

TEST(Watchdog, ReportsAStallAndItsEnd) {
  Reports reports;
  StageMonitor at_work;
  StageMonitor waiting;
  at_work.begin(forward, std::chrono::steady_clock::now());
  waiting.begin(receive, std::chrono::steady_clock::now());
  const Watchdog watchdog({.stages = {{4, &at_work}, {5, &waiting}},
                           .limit = 50ms,
                           .report = [&](const std::string& text) { reports.add(text); },
                           .surroundings = [] { return "channel 4: empty\nchannel 5: full"; }});
  const auto first = reports.wait_for(0);
  EXPECT_THAT(first, HasSubstr("[watchdog] no progress for 0.1 s: stage 4 has been in forward of "
                               "micro-batch 3 of batch 7 (weights W(6)) for 0.1 s\n"
                               "  stage 4: in forward"));
  EXPECT_THAT(first, HasSubstr("\n  stage 5: in receive_activation"));
  EXPECT_THAT(first, HasSubstr("0 actions done\n  channel 4: empty\n  channel 5: full\n"));
  EXPECT_THAT(reports.wait_for(1), HasSubstr("no progress"));
  const auto now = std::chrono::steady_clock::now();
  at_work.end(now, now);
  std::size_t number = 2;
  auto last = reports.wait_for(number);
  while (last.find("no progress") != std::string::npos) last = reports.wait_for(++number);
  EXPECT_THAT(last, HasSubstr("[watchdog] the run goes on after "));
}

TEST(Watchdog, EndsAtOnce) {
  Reports reports;
  StageMonitor monitor;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    const Watchdog watchdog({.stages = {{0, &monitor}},
                             .limit = 3600s,
                             .report = [&](const std::string& text) { reports.add(text); },
                             .surroundings = nullptr});
  }
  // A look comes every second: waiting for it even once would be seen.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 500ms);
  EXPECT_EQ(reports.count(), 0U);
}

TEST(Watchdog, TheLimitNullAndAnEndlessOneAreNeverReached) {
  Reports reports;
  StageMonitor monitor;
  monitor.begin(forward, std::chrono::steady_clock::now() - 1h);
  for (const double limit : {0.0, 1e300}) {
    const Watchdog watchdog({.stages = {{0, &monitor}},
                             .limit = std::chrono::duration<double>(limit),
                             .report = [&](const std::string& text) { reports.add(text); },
                             .surroundings = nullptr});
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(reports.count(), 0U);
}

/// Fails under the thread sanitizer only.
TEST(Watchdog, LooksAtStagesThatRun) {
  Reports reports;
  StageMonitor monitor;
  const Watchdog watchdog({.stages = {{0, &monitor}},
                           .limit = 4ms,
                           .report = [&](const std::string& text) { reports.add(text); },
                           .surroundings = [] { return std::string(); }});
  std::jthread stage([&] {
    const auto end = std::chrono::steady_clock::now() + 200ms;
    while (std::chrono::steady_clock::now() < end) {
      monitor.begin(forward, std::chrono::steady_clock::now());
      const auto now = std::chrono::steady_clock::now();
      monitor.end(now, now);
    }
    monitor.leave(std::chrono::steady_clock::now());
  });
}

}  // namespace
}  // namespace penstock::engine
