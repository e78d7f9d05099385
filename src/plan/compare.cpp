#include "plan/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "plan/cost_model.h"
#include "plan/enumerate.h"
#include "plan/search.h"

namespace penstock::plan {
namespace {

constexpr double not_possible = std::numeric_limits<double>::quiet_NaN();

class Comparer {
 public:
  explicit Comparer(const CompareRequest& request) : request_(request) {}

  double step_seconds(const schedule::Schedule& schedule, int micro_batches, double latency_us) {
    if (rejection(*request_.workload, schedule, request_.stages, micro_batches,
                  schedule.default_chunks)) {
      return not_possible;
    }
    Workload workload = *request_.workload;
    workload.sequences = micro_batches * request_.micro_batch;
    Cluster cluster = *request_.cluster;
    cluster.node.latency_us = latency_us;
    cluster.network.latency_us = latency_us;
    Candidate candidate{.schedule = &schedule,
                        .shape = {request_.stages, micro_batches, schedule.default_chunks},
                        .replicas = 1,
                        .micro_batch = request_.micro_batch,
                        .recompute = Recompute::none,
                        .pieces = {}};
    std::vector<double> speeds;
    for (int p = 0; p < candidate.shape.pieces(); ++p) {
      const auto place = schedule::place_of(schedule.placement, candidate.shape, p);
      speeds.push_back(stage_speed(cluster, candidate, place.stage));
    }
    candidate.pieces = weighted_partition(unit_costs(workload), speeds);
    return predict_step(workload, cluster, candidate);
  }

 private:
  const CompareRequest& request_;
};

void check_size(const CompareRequest& request, const schedule::Schedule& schedule,
                int micro_batches) {
  const auto no = rejection(*request.workload, schedule, request.stages, micro_batches,
                            schedule.default_chunks);
  if (no && no->obstacle == Obstacle::size) {
    throw user_error("plan", "{}; set --micro-batches {} or fewer", no->example,
                     most_simulated / (std::int64_t{request.stages} * schedule.default_chunks));
  }
  if (request.micro_batch <= most_batch_sequences / micro_batches) return;
  throw user_error("plan",
                   "{} micro-batches of {} sequences are a batch of more than {} sequences; set "
                   "--micro-batch {} or less",
                   micro_batches, request.micro_batch, most_batch_sequences,
                   most_batch_sequences / micro_batches);
}

void check_stages(const CompareRequest& request) {
  Space space;
  space.stages = request.stages;
  check_space(*request.workload, *request.cluster, space);
}

/// Before anything is simulated.
void check_sizes(const CompareRequest& request, const std::vector<int>& micro_batches) {
  const auto& reference = schedule::find(request.schedule);
  for (const int m : micro_batches) {
    schedule::check_shape(reference, {request.stages, m, reference.default_chunks});
    check_size(request, reference, m);
    for (const auto& name : request.others) check_size(request, schedule::find(name), m);
  }
}

std::vector<int> usual_micro_batches(int stages) {
  return {stages, 2 * stages, 4 * stages, 8 * stages};
}

std::string cells(const std::vector<double>& row) {
  std::string text;
  for (const double value : row) {
    text += fmt::format(" {:>10}", std::isnan(value) ? "-" : fmt::format("{:.3g}", value));
  }
  return text;
}

std::string grid(const Comparison& c, const std::vector<std::vector<double>>& rows) {
  std::string text = fmt::format("  {:>12}", "latency");
  for (const int m : c.micro_batches) text += fmt::format(" {:>10}", fmt::format("m = {}", m));
  text += "\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += fmt::format("  {:>12}{}\n", fmt::format("{:g} us", c.latencies_us[i]), cells(rows[i]));
  }
  return text;
}

}  // namespace

Comparison compare(const CompareRequest& request) {
  check_stages(request);
  Comparison result{.stages = request.stages,
                    .schedule = request.schedule,
                    .latencies_us = request.latencies_us,
                    .micro_batches = request.micro_batches.empty()
                                         ? usual_micro_batches(request.stages)
                                         : request.micro_batches,
                    .tables = {},
                    .step_seconds = {}};
  check_sizes(request, result.micro_batches);
  Comparer comparer(request);
  const auto all = [&](const schedule::Schedule& schedule) {
    std::vector<std::vector<double>> rows;
    for (const double latency : result.latencies_us) {
      auto& row = rows.emplace_back();
      for (const int m : result.micro_batches) {
        row.push_back(comparer.step_seconds(schedule, m, latency));
      }
    }
    return rows;
  };
  result.step_seconds = all(schedule::find(request.schedule));
  for (const auto& name : request.others) {
    Comparison::Table table{name, all(schedule::find(name))};
    for (std::size_t i = 0; i < table.ratio.size(); ++i) {
      for (std::size_t j = 0; j < table.ratio[i].size(); ++j) {
        table.ratio[i][j] /= result.step_seconds[i][j];
      }
    }
    result.tables.push_back(std::move(table));
  }
  return result;
}

std::string text(const Comparison& c) {
  std::string text =
      fmt::format("Seconds per step of {} with {} stages (predicted)\n", c.schedule, c.stages);
  text += grid(c, c.step_seconds);
  for (const auto& table : c.tables) {
    text += fmt::format("\nStep time of {} / step time of {} (above 1: {} is faster)\n",
                        table.other, c.schedule, c.schedule);
    text += grid(c, table.ratio);
  }
  return text;
}

nlohmann::ordered_json to_json(const Comparison& c) {
  auto tables = nlohmann::ordered_json::object();
  for (const auto& table : c.tables) tables[table.other] = table.ratio;
  return {{"stages", c.stages},
          {"schedule", c.schedule},
          {"latencies_us", c.latencies_us},
          {"micro_batches", c.micro_batches},
          {"step_seconds", c.step_seconds},
          {"ratios", tables}};
}

}  // namespace penstock::plan
