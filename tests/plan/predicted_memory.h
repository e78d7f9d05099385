#pragma once
// What plans say of the memory of a run, for tests that measure one.

#include <ATen/ATen.h>

#include "config/config.h"
#include "delay/registry.h"
#include "model/partition.h"
#include "optim/registry.h"
#include "plan/memory_model.h"
#include "schedule/grid_file.h"

namespace penstock::plan {

/// The bytes that `penstock plan` predicts for one stage of this configuration: one replica, the
/// configuration's own partition and recomputation. sync_steps are not considered.
inline MemoryUse predicted_memory(const config::Config& config, int stage) {
  const at::Tensor weight = at::zeros({2, 2});
  const auto tensors = [&](const config::ComponentConfig& component) {
    return static_cast<int>(optim::make(component)->init(weight).size());
  };
  Workload workload;
  workload.model = config.model;
  workload.precision = config.train.precision;
  workload.state.matrix = tensors(config.optimizer);
  workload.state.other = tensors(config.fallback.value_or(config.optimizer));
  workload.state.correction = static_cast<int>(delay::make(config.correction)->init(weight).size());
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
