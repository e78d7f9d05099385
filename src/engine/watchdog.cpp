#include "engine/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string_view>
#include <utility>

namespace penstock::engine {
namespace {

using Clock = std::chrono::steady_clock;
using State = StageMonitor::State;
using Duration = StallDetector::Duration;

bool computes(const StageMonitor::Snapshot& doing) {
  return doing.state == State::acting && !schedule::is_waiting(doing.action.kind);
}

bool same(const StageMonitor::Snapshot& a, const StageMonitor::Snapshot& b) {
  return a.state == b.state && a.since == b.since && a.actions == b.actions;
}

std::string text(Duration duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  return seconds < 10 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.0f} s", seconds);
}

std::string text(const StageMonitor::Snapshot& doing) {
  switch (doing.state) {
    case State::starting:
      return "starting, before its first action";
    case State::waiting_for_core:
      return fmt::format("waiting for a core, for {}", schedule::describe(doing.action));
    case State::acting:
      return fmt::format("in {}", schedule::describe(doing.action));
    case State::between:
      return fmt::format("waiting to be told what comes after {}",
                         schedule::describe(doing.action));
    case State::left:
      break;
  }
  return "at its end";
}

std::string indented(std::string_view lines) {
  std::string result;
  while (!lines.empty()) {
    const auto length = std::min(lines.find('\n'), lines.size());
    result += fmt::format("  {}\n", lines.substr(0, length));
    lines.remove_prefix(std::min(length + 1, lines.size()));
  }
  return result;
}

/// Far below what a clock can count.
constexpr std::chrono::duration<double> longest_limit{1e9};

/// A quarter of the limit, at least a millisecond and at most a second.
Duration distance_for(Duration limit) {
  using namespace std::chrono_literals;
  return std::clamp<Duration>(limit / 4, 1ms, 1s);
}

}  // namespace

StallDetector::Verdict StallDetector::look(std::span<const WatchedStage> stages, Time now) {
  const auto passed = now - last_look_.value_or(now - 2 * distance_);
  const auto step = std::clamp(passed, Duration::zero(), 2 * distance_);
  last_look_ = now;
  stages_.resize(stages.size());
  for (std::size_t i = 0; i < stages.size(); ++i) {
    auto& [before, age] = stages_[i];
    const auto& doing = stages[i].doing;
    const bool stayed = same(before.doing, doing);
    age = stayed ? age + step : std::clamp(now - doing.since, Duration::zero(), step);
    before = stages[i];
  }

  const Seen* work = longest_work();
  const auto rest = std::max(work ? work->age : Duration::zero(), shortest_rest());
  if (rest <= limit_) {
    const bool was_told = std::exchange(told_, std::nullopt).has_value();
    const bool somebody_runs = std::any_of(
        stages.begin(), stages.end(), [](const auto& s) { return s.doing.state != State::left; });
    return was_told && somebody_runs ? Verdict::moves_again : Verdict::quiet;
  }
  stalled_for_ = rest;
  if (told_ && rest < 2 * *told_) return Verdict::quiet;
  told_ = rest;
  return Verdict::stalled;
}

Duration StallDetector::shortest_rest() const {
  std::optional<Duration> shortest;
  for (const auto& [stage, age] : stages_) {
    if (stage.doing.state != State::left) shortest = std::min(shortest.value_or(age), age);
  }
  return shortest.value_or(Duration::zero());
}

const StallDetector::Seen* StallDetector::longest_work() const {
  const Seen* longest = nullptr;
  for (const Seen& seen : stages_) {
    if (computes(seen.stage.doing) && (!longest || seen.age > longest->age)) longest = &seen;
  }
  return longest;
}

std::string StallDetector::cause_text() const {
  const Seen* work = longest_work();
  if (!work || work->age <= limit_) return "every stage waits";
  return fmt::format("stage {} has been {} for {}", work->stage.number, text(work->stage.doing),
                     text(work->age));
}

std::string StallDetector::stages_text() const {
  auto sorted = stages_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Seen& a, const Seen& b) {
    const bool a_computes = computes(a.stage.doing);
    if (a_computes != computes(b.stage.doing)) return a_computes;
    return a_computes && a.age > b.age;
  });
  std::string lines;
  for (const auto& [stage, age] : sorted) {
    lines += fmt::format("stage {}: {} for {}, {} actions done\n", stage.number, text(stage.doing),
                         text(age), stage.doing.actions);
  }
  return lines;
}

Watchdog::Watchdog(Setup setup) : setup_(std::move(setup)) {
  if (!(setup_.limit.count() > 0)) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

void Watchdog::watch(const std::stop_token& stop) const {
  const auto limit = std::chrono::duration_cast<Duration>(std::min(setup_.limit, longest_limit));
  const auto distance = distance_for(limit);
  StallDetector detector(limit, distance);
  std::vector<WatchedStage> stages(setup_.stages.size());
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stopped.wait_for(lock, stop, distance, [&] { return stop.stop_requested(); })) {
    for (std::size_t i = 0; i < stages.size(); ++i) {
      stages[i] = {setup_.stages[i].number, setup_.stages[i].monitor->snapshot()};
    }
    const auto verdict = detector.look(stages, Clock::now());
    if (verdict == StallDetector::Verdict::stalled) setup_.report(stall_text(detector));
    if (verdict == StallDetector::Verdict::moves_again) {
      setup_.report(fmt::format("[watchdog] the run goes on after {} without progress\n",
                                text(detector.stalled_for())));
    }
  }
}

std::string Watchdog::stall_text(const StallDetector& detector) const {
  auto text_of_stall =
      fmt::format("[watchdog] no progress for {}: {}\n{}", text(detector.stalled_for()),
                  detector.cause_text(), indented(detector.stages_text()));
  if (setup_.surroundings) text_of_stall += indented(setup_.surroundings());
  return text_of_stall;
}

}  // namespace penstock::engine
