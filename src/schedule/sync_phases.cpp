#include "schedule/sync_phases.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace penstock::schedule {
namespace {

struct Phases {
  Schedule sync;
  Schedule delayed;
  std::int64_t first = 0;
  std::int64_t final_begin = no_final_phase;
};

ActionStream generate(std::shared_ptr<const Phases> phases, int stage, PipelineShape shape,
                      HasBatch has_batch) {
  const struct {
    const Schedule& schedule;
    std::int64_t begin;
    std::int64_t end;
  } parts[] = {{phases->sync, 0, phases->first},
               {phases->delayed, phases->first, phases->final_begin},
               {phases->sync, phases->final_begin, no_final_phase}};
  bool ended = false;  // the run; then nobody may be asked for a batch behind that
  for (const auto& part : parts) {
    const std::int64_t begin = part.begin;
    const std::int64_t end = part.end;
    auto actions =
        part.schedule.generate(stage, shape, [&has_batch, &ended, begin, end](std::int64_t batch) {
          if (ended || batch >= end - begin) return false;
          ended = !has_batch(begin + batch);
          return !ended;
        });
    while (auto action = actions.next()) {
      action->batch += begin;
      action->version += begin;
      co_yield *action;
    }
  }
}

StageLimits larger(const StageLimits& a, const StageLimits& b) {
  return {.least_delay = std::min(a.least_delay, b.least_delay),
          .most_delay = std::max(a.most_delay, b.most_delay),
          .versions = std::max(a.versions, b.versions),
          .gradient_buffers = std::max(a.gradient_buffers, b.gradient_buffers),
          .in_flight = std::max(a.in_flight, b.in_flight)};
}

std::int64_t begun_at(const Phases& phases, std::int64_t version, PipelineShape shape) {
  const auto [sync, delayed, first, final_begin] = phases;
  if (version <= first || version >= final_begin) return sync.begun_at(version, shape);
  return std::min(first + delayed.begun_at(version - first, shape), final_begin);
}

}  // namespace

std::string complaint_about_sync_phases(const Schedule& schedule, PipelineShape shape) {
  if (!schedule.updates_together) {
    return fmt::format(
        "schedule '{}' updates every stage alone, and updates without delay are made by all stages "
        "together",
        schedule.name);
  }
  if (shape.chunks > 1) {
    return fmt::format(
        "schedule '{}' has {} chunks per stage, and updates without delay are those of '1f1b', "
        "which has one",
        schedule.name, shape.chunks);
  }
  for (int s = 0; s < shape.stages; ++s) {
    if (schedule.limits(s, shape).most_delay > 0) return "";
  }
  return fmt::format("schedule '{}' has no delay, so that changes nothing", schedule.name);
}

Schedule with_sync_phases(Schedule delayed, std::int64_t first, std::int64_t final_begin) {
  if (first < 0 || final_begin < first) {
    throw std::invalid_argument(
        fmt::format("synchronous phases up to batch {} and from batch {} on", first, final_begin));
  }
  const auto phases = std::make_shared<const Phases>(
      Phases{one_forward_one_backward(), std::move(delayed), first, final_begin});
  Schedule schedule = phases->delayed;
  schedule.complaint = [phases](PipelineShape shape) {
    if (auto complaint = phases->delayed.complaint(shape); !complaint.empty()) return complaint;
    auto complaint = complaint_about_sync_phases(phases->delayed, shape);
    if (!complaint.empty()) complaint += "; set no synchronous steps";
    return complaint;
  };
  schedule.reductions = [phases](PipelineShape shape) {
    return std::max(phases->sync.reductions(shape), phases->delayed.reductions(shape));
  };
  schedule.limits = [phases](int stage, PipelineShape shape) {
    return larger(phases->sync.limits(stage, shape), phases->delayed.limits(stage, shape));
  };
  schedule.begun_at = [phases](std::int64_t version, PipelineShape shape) {
    return begun_at(*phases, version, shape);
  };
  schedule.generate = [phases](int stage, PipelineShape shape, HasBatch has_batch) {
    return generate(phases, stage, shape, std::move(has_batch));
  };
  return schedule;
}

Verdict validate_sync_phases(const Schedule& delayed, PipelineShape shape) {
  Verdict verdict = validate(delayed, shape);
  const auto run = [&](std::int64_t sync, std::int64_t between, std::int64_t batches) {
    if (verdict.violation) return;
    const auto phased = with_sync_phases(delayed, sync, sync + between);
    verdict.violation = validate_length(phased, shape, batches).violation;
  };
  for (const std::int64_t sync : {1, 2}) {
    for (const std::int64_t between : {1, 2, 3}) run(sync, between, sync + between + sync);
  }
  for (std::int64_t batches = 1; batches < 2 + 2 + 2; ++batches) run(2, 2, batches);
  return verdict;
}

void require_valid_sync_phases(const Schedule& delayed, PipelineShape shape) {
  check_shape(delayed, shape);
  if (const auto complaint = complaint_about_sync_phases(delayed, shape); !complaint.empty()) {
    throw user_error("schedule", "{}; set no synchronous steps", complaint);
  }
  require(validate_sync_phases(delayed, shape), delayed, shape);
}

}  // namespace penstock::schedule
