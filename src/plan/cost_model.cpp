#include "plan/cost_model.h"

#include <algorithm>
#include <cmath>

#include "plan/memory_model.h"

namespace penstock::plan {
namespace {

constexpr double microsecond = 1e-6;
constexpr double gigabyte = 1e9;

/// Bytes that an update moves, with every tensor read and written once.
double update_bytes(const Workload& z, const StageParameters& p) {
  constexpr double fp32 = 4;
  const double gradient = 2 * fp32;  // read, then zeroed
  const double weights = 2 * fp32;
  const double copy = z.precision == config::Precision::bf16 ? 2 : 0;
  return (gradient + weights + copy) * p.weights + 2 * p.state;
}

double update_seconds(const Workload& z, const Cluster& cluster, const StageParameters& p,
                      double speed) {
  const double other = p.weights - p.matrix_weights;
  if (z.measured) {
    return (z.measured->matrix_update * p.matrix_weights + z.measured->other_update * other) /
           speed;
  }
  const double rate = cluster.ranks.tflops * 1e12 * cluster.ranks.efficiency * speed;
  return update_bytes(z, p) / (cluster.ranks.memory_gb_per_s * gigabyte) + p.update_flop / rate;
}

struct Pass {
  double forward = 0;
  double input_gradient = 0;
  double weight_gradient = 0;
};

/// Seconds of one unit for one micro-batch on a rank of full speed.
Pass pass_of(const Workload& z, const Cluster& cluster, const UnitLoad& unit, double tokens) {
  const double overhead = cluster.ranks.unit_overhead_us * microsecond;
  if (z.measured) {
    const auto& seconds = z.measured->of(unit.kind);
    const double whole = unit.backward() > 0 ? unit.backward() : 1;
    return {tokens * seconds.forward, tokens * seconds.backward * unit.input_gradient / whole,
            tokens * seconds.backward * unit.weight_gradient / whole};
  }
  const double per_flop = tokens / (cluster.ranks.tflops * 1e12 * cluster.ranks.efficiency);
  const double for_input = unit.input_gradient > 0 ? overhead : 0;
  return {unit.forward * per_flop + overhead, unit.input_gradient * per_flop + for_input,
          unit.weight_gradient * per_flop + overhead};
}

/// Seconds of the forwards that a backward begins with, for one micro-batch at full speed: without
/// each segment's last product.
double second_forward(const Workload& z, const Cluster& cluster, const Candidate& c,
                      model::UnitRange range, double tokens) {
  double seconds = 0;
  for (const auto& segment : segments_of(z, range, c.recompute)) {
    if (!segment.recomputed) continue;
    for (std::size_t u = segment.first; u < segment.last; ++u) {
      const UnitLoad& unit = z.units[static_cast<std::size_t>(range.first) + u];
      const double forward = pass_of(z, cluster, unit, tokens).forward;
      const bool last = u + 1 == segment.last;
      seconds +=
          last && unit.forward > 0 ? forward * (1 - unit.last_product / unit.forward) : forward;
    }
  }
  return seconds;
}

simulate::ChunkCosts chunk_costs(const Workload& z, const Cluster& cluster, const Candidate& c,
                                 int stage, int chunk) {
  const double tokens = static_cast<double>(c.micro_batch * z.model.seq);
  const double speed = stage_speed(cluster, c, stage);
  double forward = 0;
  double input = 0;
  double weight = 0;
  const auto range = c.piece(stage, chunk);
  for (auto u = range.first; u < range.last; ++u) {
    const UnitLoad& unit = z.units[static_cast<std::size_t>(u)];
    const Pass pass = pass_of(z, cluster, unit, tokens);
    forward += pass.forward / speed;
    input += pass.input_gradient / speed;
    weight += pass.weight_gradient / speed;
  }
  input += second_forward(z, cluster, c, range, tokens) / speed;
  simulate::ChunkCosts costs;
  costs.forward = forward;
  costs.backward_input = input;
  costs.backward_weight = weight;
  costs.backward = input + weight;
  costs.activation_bytes = piece_bytes(z, c, stage, chunk).kept;
  return costs;
}

/// Between the ranks of two stages, the slowest over the replicas.
Wire wire_between(const Cluster& cluster, const Candidate& c, int a, int b) {
  for (int k = 0; k < c.replicas; ++k) {
    const int first = k * c.shape.stages;
    if (!cluster.same_node(first + a, first + b)) return cluster.network;
  }
  return cluster.node;
}

Wire wire_of_replicas(const Cluster& cluster, const Candidate& c) {
  return c.ranks() <= cluster.ranks.per_node ? cluster.node : cluster.network;
}

double stage_all_reduce(const Workload& z, const Cluster& cluster, const Candidate& c, int stage) {
  const double bytes = gradient_element * parameters_of(z, c, stage).gradients;
  const double seconds = ring_all_reduce(bytes, c.replicas, wire_of_replicas(cluster, c).link());
  if (!z.bucketed || c.replicas == 1) return seconds;
  double hidden = 0;
  for (int chunk = 0; chunk < c.shape.chunks; ++chunk) {
    hidden += chunk_costs(z, cluster, c, stage, chunk).backward.mean;
  }
  return std::max(0.0, seconds - hidden);
}

}  // namespace

double ring_all_reduce(double bytes, int replicas, simulate::Link link) {
  if (replicas <= 1) return 0;
  const double n = replicas;
  return 2 * (n - 1) * (bytes / n / link.bandwidth + link.latency);
}

double all_reduce_seconds(const Workload& z, const Cluster& cluster, const Candidate& c) {
  double worst = 0;
  for (int s = 0; s < c.shape.stages; ++s) {
    worst = std::max(worst, stage_all_reduce(z, cluster, c, s));
  }
  return worst;
}

double reduction_seconds(const Workload& z, const Cluster& cluster, const Candidate& c) {
  const int d = c.shape.stages;
  double seconds = all_reduce_seconds(z, cluster, c);
  if (d == 1) return seconds;
  const simulate::Link link = wire_between(cluster, c, 0, d - 1).link();
  seconds += 2 * std::ceil(std::log2(d)) * link.latency;  // up and down a tree
  if (!z.model.tied) return seconds;
  const auto first = schedule::place_of(c.schedule->placement, c.shape, 0).stage;
  const auto last = schedule::place_of(c.schedule->placement, c.shape, c.shape.pieces() - 1).stage;
  if (first == last) return seconds;
  const double bytes = gradient_element * static_cast<double>(z.model.vocab * z.model.width);
  return seconds + link.latency + bytes / link.bandwidth;
}

double stage_speed(const Cluster& cluster, const Candidate& c, int stage) {
  double slowest = cluster.speed(stage);
  for (int k = 1; k < c.replicas; ++k) {
    slowest = std::min(slowest, cluster.speed(k * c.shape.stages + stage));
  }
  return slowest;
}

simulate::Costs costs_of(const Workload& z, const Cluster& cluster, const Candidate& c) {
  simulate::Costs costs;
  const int d = c.shape.stages;
  for (int s = 0; s < d; ++s) {
    simulate::StageCosts stage;
    for (int chunk = 0; chunk < c.shape.chunks; ++chunk) {
      stage.chunks.push_back(chunk_costs(z, cluster, c, s, chunk));
    }
    stage.update = update_seconds(z, cluster, parameters_of(z, c, s), stage_speed(cluster, c, s));
    if (!c.schedule->updates_together) stage.contribute = stage_all_reduce(z, cluster, c, s);
    costs.stages.push_back(std::move(stage));
  }
  costs.message_bytes = message_bytes(z, c);
  costs.link = wire_between(cluster, c, 0, d - 1).link();
  for (int s = 0; s + 1 < d; ++s) {
    costs.links.push_back(wire_between(cluster, c, s, s + 1).link());
  }
  if (c.schedule->updates_together) costs.reduction = reduction_seconds(z, cluster, c);
  return costs;
}

double lower_bound(const Candidate& c, const simulate::Costs& costs) {
  double bound = 0;
  double before = 0;  // F of the pieces before this one
  bool flushes = true;
  for (int s = 0; s < c.shape.stages; ++s) {
    flushes = flushes && c.schedule->limits(s, c.shape).most_delay == 0;
  }
  for (int s = 0; s < c.shape.stages; ++s) {
    const auto& stage = costs.stages[static_cast<std::size_t>(s)];
    const double way = flushes ? before : 0;
    bound = std::max(bound, way + work_of(c, stage) + stage.contribute.mean);
    before += stage.chunks.front().forward.mean;
  }
  return flushes ? bound + costs.reduction : bound;
}

double work_of(const Candidate& c, const simulate::StageCosts& stage) {
  double work = stage.update.mean;
  for (const auto& chunk : stage.chunks) {
    work += c.shape.micro_batches * (chunk.forward.mean + chunk.backward.mean);
  }
  return work;
}

double measured_flops(const Workload& z) {
  double flop = 0;
  double seconds = 0;
  for (const auto& unit : z.units) {
    const auto& pass = z.measured.value().of(unit.kind);
    flop += unit.forward + unit.backward();
    seconds += pass.forward + pass.backward;
  }
  return flop / seconds;
}

std::vector<double> unit_costs(const Workload& z) {
  std::vector<double> costs;
  for (const auto& unit : z.units) {
    if (z.measured) {
      const auto& pass = z.measured->of(unit.kind);
      costs.push_back(pass.forward + pass.backward);
    } else {
      costs.push_back(unit.forward + unit.backward());
    }
  }
  return costs;
}

}  // namespace penstock::plan
