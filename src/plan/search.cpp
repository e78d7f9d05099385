#include "plan/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/error.h"
#include "plan/cost_model.h"
#include "plan/enumerate.h"
#include "simulate/simulate.h"

namespace penstock::plan {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

/// GiB with three digits where two decimals would hide them.
std::string in_gib(double bytes) {
  const double size = bytes / gib;
  return size >= 1 ? fmt::format("{:.2f}", size) : fmt::format("{:.3g}", size);
}

/// The next GiB above `bytes` that people would write: two digits.
std::string enough_gib(double bytes) {
  const double size = bytes / gib;
  const double digit = std::pow(10, std::floor(std::log10(size)) - 1);
  return fmt::format("{:.2g}", std::ceil(size / digit) * digit);
}

struct Judged {
  Candidate candidate;
  double bound = 0;
};

/// Enough for a steady window: an asynchronous schedule takes about d / m batches to fill.
std::int64_t batches_for(const schedule::PipelineShape& shape) {
  const int lag = (shape.stages + shape.micro_batches - 1) / shape.micro_batches;
  return 4 + 2 * lag;
}

simulate::Result run(const Candidate& candidate, const simulate::Costs& costs) {
  simulate::Request request;
  request.schedule = candidate.schedule;
  request.shape = candidate.shape;
  request.batches = batches_for(candidate.shape);
  request.costs = &costs;
  return simulate::simulate(request);
}

std::vector<MemoryUse> memory_by_stage(const Workload& workload, const Candidate& candidate) {
  std::vector<MemoryUse> all;
  for (int s = 0; s < candidate.shape.stages; ++s) {
    all.push_back(memory_of(workload, candidate, s));
  }
  return all;
}

int fullest_of(const std::vector<MemoryUse>& memory) {
  const auto most =
      std::ranges::max_element(memory, {}, [](const MemoryUse& use) { return use.total(); });
  return static_cast<int>(most - memory.begin());
}

/// Without a reduction, to see what it costs.
simulate::Costs without_reduction(simulate::Costs costs) {
  costs.reduction = 0;
  for (auto& stage : costs.stages) stage.contribute = 0;
  return costs;
}

bool has_reduction(const simulate::Costs& costs) {
  return costs.reduction > 0 ||
         std::ranges::any_of(costs.stages, [](const auto& s) { return s.contribute.mean > 0; });
}

void add_shares(Plan& plan, const simulate::Result& result) {
  timeline::Usage all;
  for (const auto& stage : result.stages) all += stage.usage;
  const double time = all.work + all.evaluation + all.bubble();
  if (time <= 0) return;
  plan.transfer = all.transfer / time;
  plan.wait_update = all.wait_update / time;
  plan.wait_pieces = all.bubble() / time - plan.transfer - plan.wait_update;
}

void add_memory(Plan& plan, const Workload& workload, const simulate::Result& result) {
  plan.memory = memory_by_stage(workload, plan.candidate);
  if (plan.candidate.shape.chunks > 1 && !follows_order(plan.candidate)) {
    for (std::size_t s = 0; s < plan.memory.size(); ++s) {
      plan.memory[s].activations = result.stages[s].peak_bytes;
    }
  }
  plan.fullest = fullest_of(plan.memory);
}

Plan simulated(const Workload& workload, const Cluster& cluster, const Candidate& candidate,
               const simulate::Costs& costs) {
  const auto result = run(candidate, costs);
  Plan plan;
  plan.candidate = candidate;
  plan.step_seconds = result.step_time;
  const auto tokens = static_cast<double>(workload.batch_tokens());
  plan.tokens_per_second = tokens / result.step_time;
  for (int s = 0; s < candidate.shape.stages; ++s) {
    const auto limits = candidate.schedule->limits(s, candidate.shape);
    plan.delay = std::max(plan.delay, limits.most_delay);
    plan.busiest =
        std::max(plan.busiest, work_of(candidate, costs.stages[static_cast<std::size_t>(s)]));
  }
  double flop = 0;
  for (const auto& unit : workload.units) flop += tokens * (unit.forward + unit.backward());
  double peak = 0;
  for (int rank = 0; rank < cluster.count(); ++rank) {
    peak += cluster.ranks.tflops * 1e12 * cluster.speed(rank);
  }
  plan.utilisation = flop / (peak * result.step_time);
  add_shares(plan, result);
  add_memory(plan, workload, result);
  return plan;
}

void add_exposure(Plan& plan, const Workload& workload, const Cluster& cluster) {
  const auto costs = costs_of(workload, cluster, plan.candidate);
  if (!has_reduction(costs)) return;
  const double free = run(plan.candidate, without_reduction(costs)).step_time;
  plan.exposed_reduction = std::max(0.0, plan.step_seconds - free);
}

/// Faster first. Times that differ by rounding only count as equal; then a smaller delay, a global
/// norm, the shorter pipeline and less memory win.
bool better(const Plan& a, const Plan& b) {
  constexpr double rounding = 1e-9;
  if (a.step_seconds < b.step_seconds * (1 - rounding)) return true;
  if (b.step_seconds < a.step_seconds * (1 - rounding)) return false;
  const auto rank = [](const Plan& plan) {
    return std::tuple(plan.delay, !plan.candidate.schedule->updates_together,
                      plan.candidate.shape.stages, plan.peak_bytes());
  };
  return rank(a) < rank(b);
}

template <class Key>
void keep_best(std::map<Key, Plan>& best, Key key, const Plan& plan) {
  const auto found = best.find(key);
  if (found == best.end()) {
    best.emplace(key, plan);
  } else if (better(plan, found->second)) {
    found->second = plan;
  }
}

template <class Key>
bool could_win(const std::map<Key, Plan>& best, Key key, double bound) {
  const auto found = best.find(key);
  return found == best.end() || bound < found->second.step_seconds;
}

/// What would be enough for a candidate.
struct Need {
  double bytes = 0;
  std::string what;
};

class Search {
 public:
  explicit Search(const Request& request)
      : request_(request), workload_(*request.workload), cluster_(*request.cluster) {}

  Outcome run() {
    auto enumerated = enumerate(workload_, cluster_, request_.space);
    if (enumerated.candidates.empty() && enumerated.rejected.empty()) {
      refuse_micro_batch(1, workload_, cluster_, request_.space);
    }
    outcome_.rejected = std::move(enumerated.rejected);
    outcome_.candidates = enumerated.candidates.size();
    for (auto& candidate : enumerated.candidates) admit(std::move(candidate));
    outcome_.fitting = fitting_.size();
    if (fitting_.empty()) refuse();
    std::ranges::sort(fitting_, {}, &Judged::bound);
    judge();
    if (outcome_.ranked.empty()) refuse();
    for (auto& [name, plan] : by_schedule_) outcome_.best_of_schedule.push_back(plan);
    std::ranges::sort(outcome_.best_of_schedule, better);
    for (auto& [stages, plan] : by_stages_) outcome_.best_of_stages.push_back(plan);
    for (auto* plans : {&outcome_.ranked, &outcome_.best_of_schedule, &outcome_.best_of_stages}) {
      for (auto& plan : *plans) add_exposure(plan, workload_, cluster_);
    }
    return std::move(outcome_);
  }

 private:
  void admit(Candidate candidate) {
    const auto memory = memory_by_stage(workload_, candidate);
    const int fullest = fullest_of(memory);
    const double bytes = memory[static_cast<std::size_t>(fullest)].total();
    if (bytes > cluster_.memory()) {
      reject_for_memory(candidate, fullest, bytes);
      return;
    }
    const double bound = lower_bound(candidate, costs_of(workload_, cluster_, candidate));
    fitting_.push_back({std::move(candidate), bound});
  }

  void reject_for_memory(const Candidate& candidate, int stage, double bytes) {
    const auto example = fmt::format("stage {} needs {} GiB of {:g} ({})", stage, in_gib(bytes),
                                     cluster_.ranks.memory_gib, describe(candidate));
    reject(outcome_.rejected, {candidate.schedule, Obstacle::memory, 1, example, bytes});
    if (least_need_ && least_need_->bytes <= bytes) return;
    least_need_ = Need{bytes, fmt::format("on stage {} of {}", stage, describe(candidate))};
  }

  bool worth_simulating(const Judged& one) const {
    if (outcome_.ranked.size() < request_.top) return true;
    if (one.bound < outcome_.ranked.back().step_seconds) return true;
    return could_win(by_schedule_, one.candidate.schedule->name, one.bound) ||
           could_win(by_stages_, one.candidate.shape.stages, one.bound);
  }

  void judge() {
    std::size_t done = 0;
    for (const Judged& one : fitting_) {
      if (request_.progress) request_.progress(done++, fitting_.size());
      if (!worth_simulating(one)) continue;
      ++outcome_.simulated;
      const Plan plan = simulated(workload_, cluster_, one.candidate,
                                  costs_of(workload_, cluster_, one.candidate));
      if (plan.peak_bytes() > cluster_.memory()) {
        reject_for_memory(plan.candidate, plan.fullest, plan.peak_bytes());
        continue;
      }
      keep_best(by_schedule_, one.candidate.schedule->name, plan);
      keep_best(by_stages_, one.candidate.shape.stages, plan);
      insert(plan);
    }
  }

  void insert(const Plan& plan) {
    auto& ranked = outcome_.ranked;
    ranked.insert(std::ranges::upper_bound(ranked, plan, better), plan);
    if (ranked.size() > request_.top) ranked.pop_back();
  }

  /// Whether any candidate of `space` fits on `cluster`.
  bool fits(const Cluster& cluster, const Space& space) const {
    const auto all = enumerate(workload_, cluster, space).candidates;
    return std::ranges::any_of(all, [&](const Candidate& candidate) {
      const auto memory = memory_by_stage(workload_, candidate);
      return memory[static_cast<std::size_t>(fullest_of(memory))].total() <= cluster.memory();
    });
  }

  /// Settings that would make room, apart from more memory.
  std::string remedies() const {
    std::string text;
    const Space& space = request_.space;
    for (const auto recompute : {Recompute::block, Recompute::stage}) {
      if (std::ranges::find(space.recompute, recompute) != space.recompute.end()) continue;
      Space other = space;
      other.recompute = {recompute};
      if (!fits(cluster_, other)) continue;
      text += fmt::format(", or allow --recompute {}", name(recompute));
      break;
    }
    if (space.micro_batch && *space.micro_batch > 1) {
      Space smaller = space;
      smaller.micro_batch = 1;
      if (fits(cluster_, smaller)) text += ", or --micro-batch 1";
    }
    if (space.stages) return text;
    Cluster larger = cluster_;
    larger.ranks.speed_percent.clear();
    for (int factor = 2; factor <= 64; factor *= 2) {
      larger.ranks.count = cluster_.ranks.count * factor;
      if (!fits(larger, space)) continue;
      return text + fmt::format(", or ranks.count = {}", larger.ranks.count);
    }
    return text;
  }

  [[noreturn]] void refuse() const {
    if (!least_need_) refuse_shapes();
    throw user_error(
        "plan",
        "no plan fits into ranks.memory_gib = {:g}: the smallest need is {} GiB {}; set "
        "ranks.memory_gib = {} or more{}",
        cluster_.ranks.memory_gib, in_gib(least_need_->bytes), least_need_->what,
        enough_gib(least_need_->bytes), remedies());
  }

  [[noreturn]] void refuse_shapes() const {
    throw user_error("plan", "no layout is possible: {}", outcome_.rejected.at(0).example);
  }

  const Request& request_;
  const Workload& workload_;
  const Cluster& cluster_;
  std::vector<Judged> fitting_;
  std::map<std::string, Plan> by_schedule_;
  std::map<int, Plan> by_stages_;
  std::optional<Need> least_need_;
  Outcome outcome_;
};

}  // namespace

std::string not_trainable(const Workload& workload, const Candidate& candidate) {
  std::vector<std::string> missing;
  if (candidate.replicas > 1) missing.emplace_back("replicas");
  if (workload.experts != Experts{}) missing.emplace_back("experts");
  return missing.empty() ? "" : "train has no " + config::joined(missing, " and no ") + " yet";
}

Outcome search(const Request& request) { return Search(request).run(); }

double predict_step(const Workload& workload, const Cluster& cluster, const Candidate& candidate) {
  return run(candidate, costs_of(workload, cluster, candidate)).step_time;
}

Plan predict(const Workload& workload, const Cluster& cluster, Candidate candidate) {
  const auto costs = costs_of(workload, cluster, candidate);
  Plan plan = simulated(workload, cluster, candidate, costs);
  add_exposure(plan, workload, cluster);
  return plan;
}

}  // namespace penstock::plan
