#pragma once
// One way to lay a batch out over the ranks.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "model/partition.h"
#include "schedule/schedule.h"

namespace penstock::plan {

using config::Recompute;

/// "none", "block", "stage"
std::string_view name(Recompute recompute);

/// Stage s of replica k lies on rank k * stages + s, so a pipeline lies on neighbouring ranks.
/// Every replica trains its share of the batch; gradients are summed over the replicas.
struct Candidate {
  const schedule::Schedule* schedule = nullptr;
  schedule::PipelineShape shape;
  int replicas = 1;
  std::int64_t micro_batch = 1;  // sequences
  Recompute recompute = Recompute::none;
  std::vector<model::UnitRange> pieces;  // stages * chunks, in model order

  int ranks() const { return shape.stages * replicas; }
  const model::UnitRange& piece(int stage, int chunk) const {
    return pieces[static_cast<std::size_t>(
        schedule::piece_at(schedule->placement, shape, {stage, chunk}))];
  }
};

/// "2bw, 4 stages x 2 replicas, 16 x 1 sequences, recompute none"
std::string describe(const Candidate& candidate);

/// The cut of units with these costs into pieces.size() ranges that minimises the largest
/// cost / speed over the pieces; equal speeds: model::balanced_partition.
std::vector<model::UnitRange> weighted_partition(const std::vector<double>& costs,
                                                 const std::vector<double>& speeds);

}  // namespace penstock::plan
