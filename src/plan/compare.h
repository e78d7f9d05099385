#pragma once
// What 2bw buys over other schedules, by link latency and micro-batches per batch.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plan/cluster.h"
#include "plan/workload.h"

namespace penstock::plan {

struct CompareRequest {
  const Workload* workload = nullptr;  // its batch is not used: m sets it
  const Cluster* cluster = nullptr;    // its latencies are replaced
  int stages = 1;
  std::int64_t micro_batch = 1;
  std::vector<double> latencies_us{0, 10, 100, 1000, 10000};
  std::vector<int> micro_batches;  // empty: d, 2d, 4d, 8d
  std::string schedule = "2bw";    // what the others are compared with
  std::vector<std::string> others{"1f1b", "zb-h1", "zb-v"};
};

/// Step time of `other` / step time of the request's schedule; NaN where one of them is impossible.
struct Comparison {
  int stages = 1;
  std::string schedule;
  std::vector<double> latencies_us;
  std::vector<int> micro_batches;
  struct Table {
    std::string other;
    std::vector<std::vector<double>> ratio;  // [latency][micro-batches]
  };
  std::vector<Table> tables;
  std::vector<std::vector<double>> step_seconds;  // of `schedule`, [latency][micro-batches]
};

/// One replica, no recomputation, memory not considered. Errors: UserError: more stages than units
/// or ranks, unknown schedule, m < d, more micro-batches or sequences than a plan takes.
Comparison compare(const CompareRequest& request);

std::string text(const Comparison& comparison);
nlohmann::ordered_json to_json(const Comparison& comparison);

}  // namespace penstock::plan
