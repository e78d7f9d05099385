#pragma once
// Seconds that a candidate's actions take on a cluster.

#include "plan/candidate.h"
#include "plan/cluster.h"
#include "plan/workload.h"
#include "simulate/costs.h"

namespace penstock::plan {

/// fp32 gradients are summed over the replicas.
inline constexpr double gradient_element = 4;

/// A ring over n replicas: 2 (n-1)/n bytes / bandwidth + 2 (n-1) latency. 0 for one replica.
double ring_all_reduce(double bytes, int replicas, simulate::Link link);

/// Of the stage whose all-reduce takes longest, less what the backward of the last micro-batch
/// hides where it is bucketed. Its links are those inside a node only if all replicas lie there.
double all_reduce_seconds(const Workload& workload, const Cluster& cluster,
                          const Candidate& candidate);

/// From the last contribution to everybody's result: the all-reduce over the replicas, then norm
/// and loss over the stages, then the gradients of a tied embedding between its two holders.
double reduction_seconds(const Workload& workload, const Cluster& cluster,
                         const Candidate& candidate);

/// The speed of the slowest rank that holds the stage in any replica.
double stage_speed(const Cluster& cluster, const Candidate& candidate, int stage);

/// Costs for simulate(). Where every stage updates on its own, the all-reduce is part of its
/// contribute; otherwise it is the reduction.
/// F, B, dX and dW of a chunk: FLOP * tokens / rate (or the measured seconds * tokens) plus the
/// overhead of each unit; what is computed again adds its F, less the product that makes the last
/// output of each segment, to B and dX.
simulate::Costs costs_of(const Workload& workload, const Cluster& cluster,
                         const Candidate& candidate);

/// No schedule can be faster than this: the busiest stage's work and update, and where a batch
/// waits for the update before it, the way of the first micro-batch to that stage.
double lower_bound(const Candidate& candidate, const simulate::Costs& costs);

/// Seconds of a stage's work in a step: F, B and update.
double work_of(const Candidate& candidate, const simulate::StageCosts& stage);

/// FLOP per second that the measured times amount to, over the whole model.
double measured_flops(const Workload& workload);

/// FLOP equivalents of the units, for cutting the model: seconds where measured.
std::vector<double> unit_costs(const Workload& workload);

}  // namespace penstock::plan
