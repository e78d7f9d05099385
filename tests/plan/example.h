#pragma once
// Models and clusters small enough to predict by hand.

#include <string>
#include <vector>

#include "plan/cluster.h"
#include "plan/search.h"
#include "plan/workload.h"

namespace penstock::plan {

/// One layer, 760 parameters: embedding 128, attention 200, MLP 296, head 136.
inline Workload tiny(std::int64_t sequences = 8) {
  Workload workload;
  workload.model.layers = 1;
  workload.model.width = 8;
  workload.model.heads = 2;
  workload.model.kv_heads = 1;
  workload.model.ff = 12;
  workload.model.vocab = 16;
  workload.model.seq = 4;
  workload.sequences = sequences;
  return make_workload(workload);
}

/// `count` units that cost 1 s forward and 2 s backward per sequence on `fast` ranks, and weigh
/// nothing.
inline Workload equal_units(int count, std::int64_t sequences) {
  Workload workload = tiny(sequences);
  workload.model.seq = 1;
  UnitLoad unit;
  unit.kind = model::UnitKind::mlp;
  unit.forward = 1e12;
  unit.input_gradient = 1e12;
  unit.weight_gradient = 1e12;
  workload.units.assign(static_cast<std::size_t>(count), unit);
  return workload;
}

/// Ranks of exactly 1e12 FLOP/s, links and updates that take no time to speak of.
inline Cluster ideal(int ranks, const std::string& more = "") {
  return parse_cluster("[ranks]\ncount = " + std::to_string(ranks) +
                           "\nmemory_gib = 1\ntflops = 1\nefficiency = 1\nmemory_gb_per_s = 1e15\n"
                           "unit_overhead_us = 0\n" +
                           more +
                           "\n[node]\nlatency_us = 0\ngb_per_s = 1e15\n"
                           "[network]\nlatency_us = 0\ngb_per_s = 1e15\n",
                       "ideal.toml");
}

inline Candidate candidate(const char* schedule, schedule::PipelineShape shape,
                           std::vector<std::int64_t> counts, int replicas = 1,
                           std::int64_t micro_batch = 1) {
  return {.schedule = &schedule::find(schedule),
          .shape = shape,
          .replicas = replicas,
          .micro_batch = micro_batch,
          .recompute = Recompute::none,
          .pieces = model::partition_from_counts(counts)};
}

}  // namespace penstock::plan
