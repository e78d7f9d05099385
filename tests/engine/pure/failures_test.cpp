// A failure anywhere ends the whole run within a second, and is told in one line.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <new>
#include <set>
#include <system_error>
#include <thread>
#include <variant>

#include "engine/executor.h"
#include "engine/pure/fake_run.h"

namespace penstock::tests {
namespace {

using namespace std::chrono_literals;
using engine::StageFailure;
using engine::StageMonitor;
using schedule::Action;
using schedule::ActionKind;
using Clock = std::chrono::steady_clock;

enum class Cause { runtime_error, bad_alloc, system_error };
constexpr Cause causes[] = {Cause::runtime_error, Cause::bad_alloc, Cause::system_error};

[[noreturn]] void fail(Cause cause) {
  switch (cause) {
    case Cause::bad_alloc:
      throw std::bad_alloc();
    case Cause::system_error:
      throw std::system_error(ENOSPC, std::generic_category(), "metrics.jsonl");
    default:
      throw std::runtime_error("a bearing broke\nand this is where");
  }
}

std::string text(Cause cause) {
  switch (cause) {
    case Cause::bad_alloc:
      return "std::bad_alloc";
    case Cause::system_error:
      return "metrics.jsonl: No space left on device";
    default:
      return "a bearing broke";
  }
}

bool nests(const StageFailure& failure, Cause cause) {
  try {
    std::rethrow_if_nested(failure);
  } catch (const std::bad_alloc&) {
    return cause == Cause::bad_alloc;
  } catch (const std::system_error&) {
    return cause == Cause::system_error;
  } catch (const std::runtime_error&) {
    return cause == Cause::runtime_error;
  }
  return false;
}

/// Fails in one place, once, and remembers when.
class Breakage {
 public:
  explicit Breakage(Cause cause) : cause_(cause) {}

  [[noreturn]] void happen() {
    at_ = Clock::now();
    fail(cause_);
  }
  auto in_stage(int stage) {
    return [this, stage](int number) {
      if (number == stage) happen();
    };
  }
  auto in_action(int stage, const Action& action) {
    return [this, stage, action](int number, const Action& next) {
      if (number == stage && next == action) happen();
    };
  }

  /// Runs until it happens and checks all that is promised of that.
  void expect_to_end(const FakeRun& run, RunOptions options, int stage, const std::string& where) {
    std::deque<StageMonitor> monitors(static_cast<std::size_t>(run.shape.stages));
    if (options.monitors == nullptr) options.monitors = &monitors;
    options.rank = 3;
    try {
      run_fake(run, options);
      ADD_FAILURE() << "the failure was lost: stage " << stage << ", " << where;
    } catch (const StageFailure& failure) {
      EXPECT_LT(Clock::now() - at_, 1s);
      EXPECT_EQ(failure.what(),
                fmt::format("[engine] rank 3, stage {}, {}: {}", stage, where, text(cause_)));
      EXPECT_TRUE(nests(failure, cause_));
    }
    for (const auto& monitor : *options.monitors) {
      EXPECT_EQ(monitor.snapshot().state, StageMonitor::State::left);
    }
  }

 private:
  const Cause cause_;
  Clock::time_point at_;
};

constexpr std::int64_t endless = 1'000'000;

FakeRun endless_run(const char* schedule, schedule::PipelineShape shape) {
  return {.schedule = schedule,
          .shape = shape,
          .batches = endless,
          .evaluation = {.every = 3, .micro_batches = 2}};
}

bool always(std::int64_t) { return true; }

/// One action of every kind that the stage does, in the midst of the run.
std::vector<Action> one_of_each_kind(const FakeRun& run, int stage) {
  std::map<ActionKind, Action> found;
  auto stream = schedule::stage_stream(
      run.make_schedule(), stage, run.shape,
      {.evaluation = run.evaluation, .capture_due = always, .has_batch = [](std::int64_t batch) {
         return batch < endless;
       }});
  while (const auto action = stream.next()) {
    if (action->batch > 12) break;
    if (action->batch >= 3 && action->micro_batch == (action->chunk == 0 ? 0 : 1)) {
      found.try_emplace(action->kind, *action);
    }
  }
  std::vector<Action> actions;
  for (const auto& [kind, action] : found) actions.push_back(action);
  return actions;
}

TEST(Failures, InEveryKindOfActionOnEveryStage) {
  std::set<ActionKind> kinds;
  std::size_t number = 0;
  for (const FakeRun& run : {endless_run("2bw", {3, 4}), endless_run("zb-v", {3, 6, 2}),
                             endless_run("pipedream", {3, 2})}) {
    for (int stage = 0; stage < run.shape.stages; ++stage) {
      for (const Action& action : one_of_each_kind(run, stage)) {
        SCOPED_TRACE(fmt::format("{}, stage {}: {}", text(run), stage, schedule::describe(action)));
        kinds.insert(action.kind);
        for (const Cause cause : causes) {
          RunOptions options{.capture_due = always, .cores = static_cast<int>(number++ % 3)};
          Breakage before(cause);
          options.before_action = before.in_action(stage, action);
          before.expect_to_end(run, options, stage, schedule::describe(action));
          options.before_action = nullptr;
          if (schedule::is_waiting(action.kind) && action.kind != ActionKind::await_reduction) {
            continue;  // none of the stage's own
          }
          Breakage within(cause);
          options.in_action = within.in_action(stage, action);
          within.expect_to_end(run, options, stage, schedule::describe(action));
        }
      }
    }
  }
  EXPECT_EQ(kinds.size(), static_cast<std::size_t>(ActionKind::send_evaluation) + 1);
}

TEST(Failures, AtTheStartAndTheEndOfAStage) {
  const FakeRun run{.shape = {3, 3}, .batches = 3};
  for (int stage = 0; stage < 3; ++stage) {
    for (const Cause cause : causes) {
      Breakage start(cause);
      start.expect_to_end(endless_run("2bw", {3, 3}), {.in_start = start.in_stage(stage)}, stage,
                          "start");
      Breakage finish(cause);
      finish.expect_to_end(run, {.in_finish = finish.in_stage(stage)}, stage, "finish");
    }
  }
}

TEST(Failures, OfAThreadThatCannotBePrepared) {
  for (int stage = 0; stage < 3; ++stage) {
    Breakage breakage(Cause::runtime_error);
    EXPECT_THROW(run_fake(endless_run("2bw", {3, 4}), {.on_thread = breakage.in_stage(stage)}),
                 std::runtime_error);
  }
}

TEST(Failures, OfTheExchangeWithOtherProcesses) {
  for (const int cores : {0, 1}) {
    RunOptions options{.cores = cores};
    options.exchange = [](std::int64_t batch, comm::MergedShares&) {
      if (batch == 5) throw std::runtime_error("rank 1 is gone");
    };
    // The last stage collects batch 4 when it has contributed to batch 5: that failure is not 4's.
    options.before_action = [](int stage, const Action& action) {
      const Action collect{ActionKind::await_reduction, 4, 0, 5};
      if (stage == 2 && action == collect) std::this_thread::sleep_for(30ms);
    };
    try {
      run_fake(endless_run("2bw", {3, 4}), options);
      FAIL() << "the failure was lost";
    } catch (const StageFailure& failure) {
      EXPECT_TRUE(
          std::string(failure.what()).ends_with(", await_reduction of batch 5: rank 1 is gone"))
          << failure.what();
    }
  }
}

/// What a stage does while all stand still.
struct Standstill {
  StageMonitor::State state;
  ActionKind kind;
  bool operator==(const Standstill&) const = default;
};

/// Waits until so many stages stand there, and gives up after 20 s.
bool wait_for(const std::deque<StageMonitor>& monitors, const Standstill& others, int count) {
  for (const auto end = Clock::now() + 20s; Clock::now() < end;) {
    std::this_thread::sleep_for(10ms);
    const auto standing = std::ranges::count_if(monitors, [&](const StageMonitor& monitor) {
      const auto doing = monitor.snapshot();
      return Standstill{doing.state, doing.action.kind} == others;
    });
    if (standing == count) return true;
  }
  return false;
}

struct Standing {
  const char* what;
  FakeRun run;
  int stage;
  Action action;
  Standstill others;
  int count;  // of the other stages
};

TEST(Failures, WakeStagesThatWait) {
  using enum ActionKind;
  using State = StageMonitor::State;
  const std::vector<Standing> all{
      {"for room in a channel",
       endless_run("gpipe", {4, 8}),
       1,
       {forward, 0, 0, 0},
       {State::acting, send_activation},
       1},
      {"for a message",
       endless_run("gpipe", {4, 8}),
       0,
       {forward, 0, 0, 0},
       {State::acting, receive_activation},
       3},
      {"for a reduction",
       endless_run("1f1b", {4, 4}),
       2,
       {contribute, 1, 0, 2},
       {State::acting, await_reduction},
       3},
      {"for a decision about the run's end",
       endless_run("1f1b", {4, 4}),
       0,
       {update, 1, 0, 2},
       {State::between, update},
       3},
  };
  for (const auto& [what, run, stage, action, others, count] : all) {
    SCOPED_TRACE(what);
    std::deque<StageMonitor> monitors(static_cast<std::size_t>(run.shape.stages));
    Breakage breakage(Cause::runtime_error);
    RunOptions options{.monitors = &monitors};
    options.before_action = [&, what = what, stage = stage, action = action, others = others,
                             count = count](int number, const Action& next) {
      if (number != stage || next != action) return;
      EXPECT_TRUE(wait_for(monitors, others, count)) << what;
      breakage.happen();
    };
    breakage.expect_to_end(run, options, stage, schedule::describe(action));
  }
}

TEST(Failures, WakeAStageThatWaitsForACore) {
  const FakeRun run = endless_run("gpipe", {2, 8});
  std::deque<StageMonitor> monitors(2);
  Breakage breakage(Cause::runtime_error);
  RunOptions options{.cores = 1, .monitors = &monitors};
  const Action failing{ActionKind::forward, 0, 0, 0};
  std::atomic<bool> holds_core = false;
  options.before_action = [&](int number, const Action& next) {
    // Stage 0 still has work when stage 1 takes the core.
    const Action send{ActionKind::send_activation, 0, 1, 0};
    if (number == 0 && next == send) holds_core.wait(false);
    if (number != 1 || next != failing) return;
    holds_core = true;
    holds_core.notify_all();
    const Standstill waits{StageMonitor::State::waiting_for_core, ActionKind::forward};
    EXPECT_TRUE(wait_for(monitors, waits, 1));
    breakage.happen();
  };
  breakage.expect_to_end(run, options, 1, schedule::describe(failing));
}

TEST(Failures, WakeStagesThatWaitForTheFirstDecision) {
  const FakeRun run = endless_run("2bw", {4, 4});
  std::deque<StageMonitor> monitors(4);
  Breakage breakage(Cause::bad_alloc);
  RunOptions options{.monitors = &monitors};
  options.in_start = [&](int number) {
    if (number != 0) return;
    std::this_thread::sleep_for(50ms);  // by now the others wait
    for (const auto& monitor : monitors) {
      EXPECT_EQ(monitor.snapshot().state, StageMonitor::State::starting);
    }
    breakage.happen();
  };
  breakage.expect_to_end(run, options, 0, "start");
}

}  // namespace
}  // namespace penstock::tests
