#pragma once
// Schedules written out, for tests that look at whole runs.

#include <cstdint>
#include <vector>

#include "schedule/lowering.h"
#include "schedule/schedule.h"

namespace penstock::tests {

inline schedule::HasBatch first_batches(std::int64_t batches) {
  return [batches](std::int64_t batch) { return batch < batches; };
}

inline std::vector<schedule::Action> drain(schedule::StreamPtr stream) {
  std::vector<schedule::Action> actions;
  while (const auto action = stream->next()) actions.push_back(*action);
  return actions;
}

/// The compute actions of one stage for a run of `batches`.
inline std::vector<schedule::Action> unroll(const schedule::Schedule& schedule, int stage,
                                            schedule::PipelineShape shape, std::int64_t batches) {
  return drain(schedule.generate(stage, shape, first_batches(batches)));
}

}  // namespace penstock::tests
