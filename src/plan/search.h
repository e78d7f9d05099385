#pragma once
// Which layouts of a batch over the ranks there are, and how they compare.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "plan/candidate.h"
#include "plan/cluster.h"
#include "plan/memory_model.h"
#include "plan/workload.h"

namespace penstock::plan {

/// What is searched. Unset numbers are searched over.
struct Space {
  std::vector<const schedule::Schedule*> schedules;  // empty: all of the registry
  std::vector<Recompute> recompute{Recompute::none, Recompute::block, Recompute::stage};
  std::optional<int> stages;
  std::optional<int> replicas;
  std::optional<std::int64_t> micro_batch;  // sequences
  std::optional<int> chunks;                // of schedules that take them
  bool trainable = false;                   // only what `train` runs
};

/// Called now and then with the numbers of candidates judged and in all.
using Progress = std::function<void(std::size_t done, std::size_t all)>;

struct Request {
  const Workload* workload = nullptr;
  const Cluster* cluster = nullptr;
  Space space;
  std::size_t top = 10;  // ranked plans wanted
  Progress progress;
};

/// A candidate that fits, and its prediction.
struct Plan {
  Candidate candidate;
  double step_seconds = 0;
  double tokens_per_second = 0;
  double busiest = 0;  // seconds of work per step of the busiest stage
  // Shares of the time, mean over the stages.
  double wait_pieces = 0;         // for the pieces before and after
  double transfer = 0;            // for messages under way
  double wait_update = 0;         // at the end of a batch: for the other stages, and the reduction
  double exposed_reduction = 0;   // seconds of a step that a free reduction would save
  double utilisation = 0;         // model FLOP / (all ranks' peak * step)
  int delay = 0;                  // updates, of the stage with the most
  std::vector<MemoryUse> memory;  // by stage
  int fullest = 0;                // the stage that needs most

  /// Share of the time without anything to do, apart from transfers and the exposed reduction.
  double bubble() const {
    return wait_pieces + std::max(0.0, wait_update - exposed_reduction / step_seconds);
  }
  double peak_bytes() const { return memory[static_cast<std::size_t>(fullest)].total(); }
};

enum class Obstacle { memory, shape, size, lone_updates, recompute };

/// Candidates of one schedule that cannot be.
struct Rejected {
  const schedule::Schedule* schedule = nullptr;
  Obstacle obstacle{};
  std::int64_t count = 0;
  std::string example;  // rule and values of the one that is nearest to possible
  /// How far from possible it is; memory: the bytes that it needs on its fullest rank.
  double excess = 0;
};

struct Outcome {
  std::vector<Plan> ranked;            // fastest first, at most Request::top
  std::vector<Plan> best_of_schedule;  // fastest first
  std::vector<Plan> best_of_stages;    // by number of stages
  std::vector<Rejected> rejected;
  std::size_t candidates = 0;  // possible ones, memory apart
  std::size_t fitting = 0;
  std::size_t simulated = 0;  // the others' lower bound ruled them out
};

/// Why `train` cannot run this as it is today; empty where it can.
std::string not_trainable(const Workload& workload, const Candidate& candidate);

/// Candidates are judged in the order of their lower bounds, and only simulated while they could
/// still be among the `top`, or the best of their schedule or depth. Errors: UserError where
/// nothing fits (smallest need, what would fit), or where a setting of the space leaves nothing
/// (more stages than units, a batch that does not divide): rule, values, nearest setting.
Outcome search(const Request& request);

/// The prediction for one candidate, whatever its memory.
Plan predict(const Workload& workload, const Cluster& cluster, Candidate candidate);

/// Its step time alone: one simulation instead of two.
double predict_step(const Workload& workload, const Cluster& cluster, const Candidate& candidate);

}  // namespace penstock::plan
