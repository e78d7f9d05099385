#include "plan/enumerate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "plan/cost_model.h"

namespace penstock::plan {
namespace {

using schedule::PipelineShape;
using schedule::Schedule;

// Larger ones need more memory and shorten the pipeline; their overhead is small already.
constexpr std::int64_t most_sequences = 64;
constexpr int most_chunks = 4;

/// Of `number`, at most `limit`; of two that are as near, the smaller one.
std::int64_t nearest_divisor_of(std::int64_t number, std::int64_t wanted, std::int64_t limit) {
  std::int64_t nearest = 1;
  const auto consider = [&](std::int64_t divisor) {
    const std::int64_t gain = std::abs(nearest - wanted) - std::abs(divisor - wanted);
    if (divisor <= limit && (gain > 0 || (gain == 0 && divisor < nearest))) nearest = divisor;
  };
  for (std::int64_t r = 1; r <= number / r; ++r) {
    if (number % r != 0) continue;
    consider(r);
    consider(number / r);
  }
  return nearest;
}

std::int64_t largest_divisor_up_to(std::int64_t number, std::int64_t limit) {
  for (std::int64_t r = std::min(number, limit); r > 1; --r) {
    if (number % r == 0) return r;
  }
  return 1;
}

std::int64_t rounded_up(std::int64_t number, std::int64_t step) {
  return (number + step - 1) / step * step;
}

/// ", or --batch-tokens N" for a batch of the next multiple of `step` that a plan takes.
std::string or_larger_batch(const Workload& workload, std::int64_t sequences, std::int64_t step) {
  if (step > most_batch_sequences - sequences) return "";
  return fmt::format(", or --batch-tokens {}", rounded_up(sequences, step) * workload.model.seq);
}

class SpaceCheck {
 public:
  SpaceCheck(const Workload& workload, const Cluster& cluster, const Space& space)
      : workload_(workload),
        cluster_(cluster),
        space_(space),
        stages_(space.stages.value_or(1)),
        replicas_(space.replicas.value_or(1)) {}

  void run() const {
    if (space_.stages) check_units();
    if (space_.trainable) check_trainable();
    check_ranks();
    if (space_.replicas) check_batch();
  }

 private:
  void check_units() const {
    const std::size_t units = workload_.units.size();
    if (static_cast<std::size_t>(stages_) <= units) return;
    throw user_error("plan",
                     "{} stages, but {} layers have only {} units to distribute (embedding, "
                     "attention and MLP of each layer, head); set --stages {} or fewer",
                     stages_, workload_.model.layers, units, units);
  }

  void check_trainable() const {
    if (replicas_ > 1) {
      throw user_error("plan",
                       "--train-here plans for one replica, but --replicas is {}; set --replicas "
                       "1, or leave out --train-here",
                       replicas_);
    }
    if (workload_.experts == Experts{}) return;
    throw user_error("plan",
                     "train has no experts, but experts.count = {}; leave out --train-here, or "
                     "plan a dense model",
                     workload_.experts.count);
  }

  void check_ranks() const {
    const std::int64_t count = cluster_.count();
    const std::int64_t wanted = stages_ * replicas_;
    if (wanted <= count) return;
    const std::string what = space_.stages
                                 ? fmt::format("{} stages x {} replicas", stages_, replicas_)
                                 : fmt::format("{} replicas", replicas_);
    throw user_error("plan", "{} need {} ranks, but the cluster has {}; set {}", what, wanted,
                     count, smaller(count));
  }

  std::string smaller(std::int64_t count) const {
    const std::string replicas =
        stages_ <= count ? fmt::format("--replicas {}",
                                       largest_divisor_up_to(workload_.sequences, count / stages_))
                         : "";
    const std::string stages =
        replicas_ <= count ? fmt::format("--stages {} or fewer", count / replicas_) : "";
    if (!space_.replicas) return stages;
    if (!space_.stages) return replicas;
    if (replicas.empty() && stages.empty()) {
      return fmt::format("--stages {} or fewer and --replicas 1", count);
    }
    return replicas + (replicas.empty() || stages.empty() ? "" : ", or ") + stages;
  }

  void check_batch() const {
    if (workload_.sequences % replicas_ == 0) return;
    throw user_error(
        "plan",
        "{} replicas do not divide the batch of {} sequences of {} tokens; set --replicas {}{}",
        replicas_, workload_.sequences, workload_.model.seq,
        nearest_divisor_of(workload_.sequences, replicas_, cluster_.count() / stages_),
        or_larger_batch(workload_, workload_.sequences, replicas_));
  }

  const Workload& workload_;
  const Cluster& cluster_;
  const Space& space_;
  const std::int64_t stages_;
  const std::int64_t replicas_;
};

int replicas_at(int stages, const Workload& workload, const Cluster& cluster, const Space& space) {
  if (space.replicas) return *space.replicas;
  const std::int64_t limit = space.trainable ? 1 : cluster.count() / stages;
  return static_cast<int>(largest_divisor_up_to(workload.sequences, limit));
}

/// How far a shape is from the only one that a schedule is written for.
double distance(const Schedule& schedule, std::int64_t stages, std::int64_t micro_batches) {
  if (!schedule.only_shape) return 0;
  constexpr double per_stage = 1e9;  // more than micro-batches can differ by
  return per_stage * static_cast<double>(std::abs(stages - schedule.only_shape->stages)) +
         static_cast<double>(std::abs(micro_batches - schedule.only_shape->micro_batches));
}

class Enumeration {
 public:
  Enumeration(const Workload& workload, const Cluster& cluster, const Space& space)
      : workload_(workload),
        cluster_(cluster),
        space_(space),
        units_(static_cast<int>(workload.units.size())),
        costs_(unit_costs(workload)) {
    for (const auto& schedule : schedule::registry()) {
      if (space.schedules.empty()) schedules_.push_back(&schedule);
    }
    for (const auto* schedule : space.schedules) schedules_.push_back(schedule);
    std::ranges::stable_sort(schedules_, {}, &Schedule::default_chunks);
  }

  Enumerated run() {
    check_space(workload_, cluster_, space_);
    if (space_.stages) {
      with_stages(*space_.stages);
    } else {
      for (int d = 1; d <= std::min(cluster_.count(), units_); ++d) with_stages(d);
    }
    return std::move(result_);
  }

 private:
  void with_stages(int d) {
    if (space_.replicas && *space_.replicas > cluster_.count() / d) return;
    const int replicas = replicas_at(d, workload_, cluster_, space_);
    const std::int64_t share = workload_.sequences / replicas;
    if (!space_.micro_batch) {
      for (std::int64_t b = 1; b <= std::min(share, most_sequences); ++b) {
        if (share % b == 0) with_micro_batch(d, replicas, b);
      }
    } else if (share % *space_.micro_batch == 0) {
      with_micro_batch(d, replicas, *space_.micro_batch);
    } else if (space_.stages) {
      refuse_micro_batch(d, workload_, cluster_, space_);
    }
  }

  void with_micro_batch(int d, int replicas, std::int64_t micro_batch) {
    const std::int64_t m = workload_.sequences / replicas / micro_batch;
    std::vector<std::string> seen;
    for (const Schedule* schedule : schedules_) {
      for (const int chunks : chunks_of(*schedule)) {
        if (auto no = rejection(workload_, *schedule, d, m, chunks)) {
          if (no->obstacle == Obstacle::size) no->example += smaller_batch(d, replicas, chunks);
          reject(result_.rejected, std::move(*no));
          continue;
        }
        Candidate candidate{.schedule = schedule,
                            .shape = {d, static_cast<int>(m), chunks},
                            .replicas = replicas,
                            .micro_batch = micro_batch,
                            .recompute = Recompute::none,
                            .pieces = {}};
        if (d == 1 && repeats(candidate, seen)) continue;
        add(std::move(candidate));
      }
    }
  }

  /// Remedy for too many micro-batches: few enough with micro-batches of one sequence.
  std::string smaller_batch(int d, int replicas, int chunks) const {
    const std::int64_t pieces = std::int64_t{d} * chunks;
    const std::int64_t sequences =
        most_simulated / pieces * replicas * space_.micro_batch.value_or(1);
    return fmt::format("; set --batch-tokens {} or less", sequences * workload_.model.seq);
  }

  /// With one stage, schedules of the same delay are the same. Those with one chunk come first, so
  /// more chunks are only kept where nothing else is wanted.
  static bool repeats(const Candidate& candidate, std::vector<std::string>& seen) {
    const auto limits = candidate.schedule->limits(0, candidate.shape);
    const auto key = fmt::format("{} {}", limits.most_delay, limits.versions);
    if (std::ranges::find(seen, key) != seen.end()) return true;
    seen.push_back(key);
    return false;
  }

  std::vector<int> chunks_of(const Schedule& schedule) const {
    if (schedule.default_chunks == 1) return {1};
    if (space_.chunks) return {*space_.chunks};
    std::vector<int> all{schedule.default_chunks};
    // Whether it takes more chunks shows in its complaint about a shape that suits all others.
    for (int v = schedule.default_chunks + 1; v <= most_chunks; ++v) {
      if (schedule.complaint({2, 4, v}).empty()) all.push_back(v);
    }
    return all;
  }

  void add(Candidate candidate) {
    if (!candidate.schedule->updates_together && workload_.model.tied) {
      const auto reason = fmt::format(
          "schedule '{}' updates every stage alone, so the copies of a tied embedding would part; "
          "set model.tied = false",
          candidate.schedule->name);
      reject(result_.rejected, {candidate.schedule, Obstacle::lone_updates, 1, reason, 0});
      return;
    }
    candidate.pieces = pieces_of(candidate);
    const bool none =
        std::ranges::find(space_.recompute, Recompute::none) != space_.recompute.end();
    if (!candidate.schedule->stashes_weights && !none) {
      const auto reason = fmt::format(
          "schedule '{}' gives a backward other weights than its forward, so nothing can be "
          "computed "
          "again; set --recompute none",
          candidate.schedule->name);
      reject(result_.rejected, {candidate.schedule, Obstacle::recompute, 1, reason, 0});
      return;
    }
    for (const Recompute recompute : space_.recompute) {
      if (recompute != Recompute::none && !candidate.schedule->stashes_weights) continue;
      candidate.recompute = recompute;
      const bool wanted = !space_.trainable || not_trainable(workload_, candidate).empty();
      if (wanted) result_.candidates.push_back(candidate);
    }
  }

  std::vector<model::UnitRange> pieces_of(const Candidate& candidate) {
    std::vector<double> speeds;
    for (int p = 0; p < candidate.shape.pieces(); ++p) {
      const auto place = schedule::place_of(candidate.schedule->placement, candidate.shape, p);
      speeds.push_back(stage_speed(cluster_, candidate, place.stage));
    }
    auto& cut = cuts_[speeds];
    if (cut.empty()) cut = weighted_partition(costs_, speeds);
    return cut;
  }

  const Workload& workload_;
  const Cluster& cluster_;
  const Space& space_;
  const int units_;
  const std::vector<double> costs_;
  std::vector<const Schedule*> schedules_;
  std::map<std::vector<double>, std::vector<model::UnitRange>> cuts_;
  Enumerated result_;
};

}  // namespace

void check_space(const Workload& workload, const Cluster& cluster, const Space& space) {
  SpaceCheck(workload, cluster, space).run();
}

void refuse_micro_batch(int stages, const Workload& workload, const Cluster& cluster,
                        const Space& space) {
  const std::int64_t replicas = replicas_at(stages, workload, cluster, space);
  const std::int64_t share = workload.sequences / replicas;
  const std::int64_t wanted = space.micro_batch.value();
  std::string larger;
  if (wanted <= most_batch_sequences / replicas) {
    larger = or_larger_batch(workload, workload.sequences, wanted * replicas);
    // Another batch may have more replicas, and with them other shares.
    if (!larger.empty() && !space.replicas) larger += fmt::format(" --replicas {}", replicas);
  }
  throw user_error("plan",
                   "micro-batches of {} sequences do not divide the {} sequences of each of {} "
                   "replicas; set --micro-batch {}{}",
                   wanted, share, replicas, nearest_divisor_of(share, wanted, share), larger);
}

std::optional<Rejected> rejection(const Workload& workload, const Schedule& schedule,
                                  std::int64_t stages, std::int64_t micro_batches,
                                  std::int64_t chunks) {
  const auto units = static_cast<std::int64_t>(workload.units.size());
  const std::int64_t pieces = stages * chunks;
  if (pieces > units) {
    return Rejected{&schedule, Obstacle::shape, 1,
                    fmt::format("{} stages of {} chunks are {} pieces, but the model has {} units; "
                                "set --stages and --chunks with a product of {} or less",
                                stages, chunks, pieces, units, units),
                    distance(schedule, stages, micro_batches)};
  }
  if (micro_batches > most_simulated / pieces) {
    return Rejected{&schedule, Obstacle::size, 1,
                    fmt::format("{} micro-batches for {} pieces of the model, but their product "
                                "can be at most {} for a plan",
                                micro_batches, pieces, most_simulated),
                    static_cast<double>(micro_batches) * static_cast<double>(pieces)};
  }
  auto complaint = schedule::complaint_about(schedule, stages, micro_batches, chunks);
  if (complaint.empty()) return std::nullopt;
  return Rejected{&schedule, Obstacle::shape, 1, std::move(complaint),
                  distance(schedule, stages, micro_batches)};
}

Enumerated enumerate(const Workload& workload, const Cluster& cluster, const Space& space) {
  return Enumeration(workload, cluster, space).run();
}

void reject(std::vector<Rejected>& all, Rejected one) {
  for (auto& group : all) {
    if (group.schedule != one.schedule || group.obstacle != one.obstacle) continue;
    group.count += one.count;
    if (one.excess < group.excess) {
      group.excess = one.excess;
      group.example = std::move(one.example);
    }
    return;
  }
  all.push_back(std::move(one));
}

}  // namespace penstock::plan
