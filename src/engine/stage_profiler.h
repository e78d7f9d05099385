#pragma once
// Where a stage's time goes, operation by operation, over whole updates.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/operation_profile.h"
#include "engine/stage_monitor.h"
#include "engine/stage_profile.h"
#include "schedule/action.h"
#include "timeline/usage_text.h"

namespace penstock::engine {

/// Used by the stage's thread, and by others once that has ended.
class StageProfiler {
 public:
  /// Updates at each end of a run that do not count. In the first ones memory is touched for the
  /// first time and the pipeline fills; in the last ones it drains.
  static constexpr std::int64_t left_out = 2;
  /// Fewer give no profile.
  static constexpr std::int64_t fewest_updates = 2 * left_out + 1;

  /// Makes an action of training an operation of the part "rest": what it takes beyond those inside
  /// of it. Waits and evaluations, with all that is inside of them, are not timed.
  class Scope {
   public:
    /// `profiler`: null where nobody wants to know.
    Scope(StageProfiler* profiler, const schedule::Action& action) {
      const bool evaluates = action.kind == schedule::ActionKind::evaluate;
      if (profiler == nullptr || evaluates || schedule::is_waiting(action.kind)) return;
      recording_.emplace(profiler->operations_);
      part_.emplace("rest");
      timer_.emplace(schedule::name(action.kind).data(), OperationWork{});
    }

   private:
    std::optional<OperationProfile::Recording> recording_;
    std::optional<ProgramPart> part_;
    std::optional<OperationTimer> timer_;
  };

  /// Behind every update. `doing`: as the stage's monitor has it then.
  void updated(StageMonitor::Time now, const StageMonitor::Snapshot& doing) {
    ++updates_;
    if (updates_ < left_out) return;
    Moment moment{now, doing.usage, doing.waited_for_core, operations_.entries()};
    if (updates_ == left_out) {
      first_ = std::move(moment);
      return;
    }
    last_.push_back(std::move(moment));
    if (static_cast<std::int64_t>(last_.size()) > left_out + 1) last_.pop_front();
  }

  /// Of the updates between those that are left out; none where there are too few.
  std::optional<StageProfile> result(int stage) const {
    if (updates_ < fewest_updates) return std::nullopt;
    const Moment& end = last_.front();
    StageProfile profile{
        .stage = stage,
        .updates = updates_ - 2 * left_out,
        .seconds = std::chrono::duration<double>(end.at - first_.at).count(),
        .operations = between(first_.operations, end.operations),
        .usage = end.usage,
        .waited_for_core = end.waited_for_core - first_.waited_for_core,
    };
    for (const auto& cause : timeline::causes) {
      profile.usage.*cause.seconds -= first_.usage.*cause.seconds;
    }
    return profile;
  }

 private:
  using Entries = std::vector<OperationProfile::Entry>;

  struct Moment {
    StageMonitor::Time at{};
    timeline::Usage usage;
    double waited_for_core = 0;
    Entries operations;
  };

  /// Entries keep their places: new ones come behind them.
  static std::vector<OperationTotal> between(const Entries& before, const Entries& now) {
    std::vector<OperationTotal> totals;
    for (std::size_t i = 0; i < now.size(); ++i) {
      OperationProfile::Entry entry = now[i];
      if (i < before.size()) {
        entry.calls -= before[i].calls;
        entry.seconds -= before[i].seconds;
        entry.work.flops -= before[i].work.flops;
        entry.work.bytes -= before[i].work.bytes;
      }
      if (entry.calls == 0) continue;
      totals.push_back({entry.part, entry.name, entry.calls, entry.seconds, entry.work});
    }
    return totals;
  }

  OperationProfile operations_;
  std::int64_t updates_ = 0;
  Moment first_;
  std::deque<Moment> last_;
};

}  // namespace penstock::engine
