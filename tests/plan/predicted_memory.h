#pragma once
// What plans say of the memory of a run, for tests that measure one.

#include "config/config.h"
#include "model/partition.h"
#include "plan/memory_model.h"
#include "schedule/grid_file.h"
#include "train/update_state.h"

namespace penstock::plan {

/// The bytes that `penstock plan` predicts for one stage of this configuration: one replica, the
/// configuration's own partition and recomputation. sync_steps are not considered.
inline MemoryUse predicted_memory(const config::Config& config, int stage) {
  Workload workload;
  workload.model = config.model;
  workload.precision = config.train.precision;
  workload.state.bytes = train::update_state(config);
  workload.sequences = config.pipeline.micro_batches * config.pipeline.micro_batch;
  const auto schedule = schedule::load(config.pipeline.schedule);
  const Candidate candidate{.schedule = &schedule,
                            .shape = {static_cast<int>(config.pipeline.stages),
                                      static_cast<int>(config.pipeline.micro_batches),
                                      static_cast<int>(config.pipeline.chunks)},
                            .replicas = 1,
                            .micro_batch = config.pipeline.micro_batch,
                            .recompute = config.pipeline.recompute,
                            .pieces = model::partition(config)};
  return memory_of(make_workload(std::move(workload)), candidate, stage);
}

}  // namespace penstock::plan
