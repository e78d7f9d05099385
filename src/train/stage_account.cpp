#include "train/stage_account.h"

#include <algorithm>
#include <cmath>

namespace penstock::train {
namespace {

/// Between two totals. Whole microseconds make short records and add up without error.
double between(double before, double now) {
  constexpr double microseconds = 1e6;
  return static_cast<double>(std::llround(now * microseconds) -
                             std::llround(before * microseconds)) /
         microseconds;
}

observe::Waits waits_between(const timeline::Usage& before, const timeline::Usage& now) {
  return {.activation = between(before.wait_activation, now.wait_activation),
          .gradient = between(before.wait_gradient, now.wait_gradient),
          .update = between(before.wait_update, now.wait_update),
          .transfer = between(before.transfer, now.transfer),
          .blocked = between(before.blocked, now.blocked)};
}

}  // namespace

StageAccount::Entry StageAccount::add(const engine::StageEvent& event, Time at) {
  Entry entry;
  auto& record = entry.record;
  record.gradient_norm = event.gradient_norm;
  record.least_delay = event.least_delay;
  record.most_delay = event.most_delay;
  record.work = between(told_.work, event.usage.work);
  record.waits = waits_between(told_, event.usage);
  record.waits.core = between(told_core_, event.waited_for_core);
  const double evaluated = event.usage.evaluation - told_.evaluation;
  const double trained = std::chrono::duration<double>(at - told_at_).count() - evaluated;
  entry.busy = trained > 0 ? std::min(1.0, record.work / trained) : 0.0;
  told_at_ = at;
  told_ = event.usage;
  told_core_ = event.waited_for_core;
  add(record);
  return entry;
}

void StageAccount::add(const observe::StageRecord& record) {
  work_ += record.work;
  for (const auto& cause : observe::wait_causes) {
    waits_.*cause.seconds += record.waits.*cause.seconds;
  }
  least_delay_ = updates_ == 0 ? record.least_delay : std::min(least_delay_, record.least_delay);
  most_delay_ = std::max(most_delay_, record.most_delay);
  delays_ += 0.5 * static_cast<double>(record.least_delay + record.most_delay);
  ++updates_;
}

observe::StageSummary StageAccount::summary(double seconds) const {
  observe::StageSummary summary;
  if (seconds > 0) {
    summary.busy = std::min(1.0, work_ / seconds);
    summary.idle = 1 - summary.busy;
    for (const auto& cause : observe::wait_causes) {
      const double share = waits_.*cause.seconds / seconds;
      summary.waits.*cause.seconds = share;
      summary.idle -= share;
    }
    summary.idle = std::max(0.0, summary.idle);
  }
  if (updates_ > 0) {
    summary.mean_delay = delays_ / static_cast<double>(updates_);
    summary.least_delay = least_delay_;
    summary.most_delay = most_delay_;
  }
  return summary;
}

}  // namespace penstock::train
