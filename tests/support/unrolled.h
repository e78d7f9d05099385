#pragma once
// Schedules written out, for tests that look at whole runs.

#include <cstdint>
#include <utility>
#include <vector>

#include "schedule/lowering.h"
#include "schedule/schedule.h"

namespace penstock::tests {

inline schedule::HasBatch first_batches(std::int64_t batches) {
  return [batches](std::int64_t batch) { return batch < batches; };
}

inline std::vector<schedule::Action> drain(schedule::ActionStream stream) {
  std::vector<schedule::Action> actions;
  while (const auto action = stream.next()) actions.push_back(*action);
  return actions;
}

/// The compute actions of one stage for a run of `batches`.
inline std::vector<schedule::Action> unroll(const schedule::Schedule& schedule, int stage,
                                            schedule::PipelineShape shape, std::int64_t batches) {
  return drain(schedule.generate(stage, shape, first_batches(batches)));
}

/// Everything that each stage does in a run of `batches`, with evaluations and transfers.
inline std::vector<std::vector<schedule::Action>> lower(const schedule::Schedule& schedule,
                                                        schedule::PipelineShape shape,
                                                        std::int64_t batches,
                                                        schedule::EvaluationPlan plan = {}) {
  std::vector<std::vector<schedule::Action>> stages;
  for (int s = 0; s < shape.stages; ++s) {
    const auto has_batch = first_batches(batches);
    auto stream = schedule.generate(s, shape, has_batch);
    stream = schedule::with_evaluation(std::move(stream), plan, shape, has_batch);
    stages.push_back(
        drain(schedule::with_transfers(std::move(stream), s, shape, schedule.placement)));
  }
  return stages;
}

}  // namespace penstock::tests
