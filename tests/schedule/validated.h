#pragma once
// What the tests of the validator have in common.

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "schedule/validate.h"

namespace penstock::schedule {

using Lists = std::vector<std::vector<Action>>;

inline std::string text(const Schedule& schedule, PipelineShape shape) {
  return fmt::format("{} d={} m={} v={}", schedule.name, shape.stages, shape.micro_batches,
                     shape.chunks);
}

inline Schedule declaring(Schedule schedule, const std::function<void(StageLimits&)>& declare) {
  schedule.limits = [limits_of = schedule.limits, declare](int stage, PipelineShape shape) {
    StageLimits limits = limits_of(stage, shape);
    declare(limits);
    return limits;
  };
  return schedule;
}

inline std::string message(const Verdict& verdict) {
  return verdict.violation ? verdict.violation->message : "none";
}

}  // namespace penstock::schedule
