#include "plan/enumerate.h"

#include <fmt/format.h>

#include <algorithm>
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

std::int64_t nearest_divisor_of(std::int64_t number, std::int64_t wanted) {
  for (std::int64_t step = 0; step <= number; ++step) {
    if (wanted > step && number % (wanted - step) == 0) return wanted - step;
    if (wanted + step <= number && number % (wanted + step) == 0) return wanted + step;
  }
  return 1;
}

std::int64_t largest_divisor_up_to(std::int64_t number, std::int64_t limit) {
  for (std::int64_t r = std::min(number, limit); r > 1; --r) {
    if (number % r == 0) return r;
  }
  return 1;
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
      const bool wanted = space.schedules.empty() ||
                          std::ranges::find(space.schedules, &schedule,
                                            [](auto* s) { return s; }) != space.schedules.end();
      if (wanted) schedules_.push_back(&schedule);
    }
    for (const auto* schedule : space.schedules) {
      if (std::ranges::find(schedules_, schedule) == schedules_.end()) {
        schedules_.push_back(schedule);
      }
    }
  }

  Enumerated run() {
    check_space();
    if (space_.stages) {
      with_stages(*space_.stages);
    } else {
      for (int d = 1; d <= std::min(cluster_.count(), units_); ++d) with_stages(d);
    }
    return std::move(result_);
  }

 private:
  void check_space() const {
    if (!space_.stages) return;
    if (*space_.stages > units_) {
      throw user_error("plan",
                       "{} stages, but {} layers have only {} units to distribute (embedding, "
                       "attention and MLP of each layer, head); set --stages {} or fewer",
                       *space_.stages, workload_.model.layers, units_, units_);
    }
    const int wanted = *space_.stages * space_.replicas.value_or(1);
    if (wanted > cluster_.count()) {
      throw user_error("plan",
                       "{} stages x {} replicas need {} ranks, but the cluster has {}; set "
                       "--stages {} or fewer",
                       *space_.stages, space_.replicas.value_or(1), wanted, cluster_.count(),
                       std::max(1, cluster_.count() / space_.replicas.value_or(1)));
    }
  }

  void with_stages(int d) {
    const std::int64_t room = cluster_.count() / d;
    if (space_.replicas) {
      if (*space_.replicas > room) return;
      if (workload_.sequences % *space_.replicas != 0) refuse_replicas();
      with_replicas(d, *space_.replicas);
      return;
    }
    const std::int64_t limit = space_.trainable ? 1 : room;
    with_replicas(d, static_cast<int>(largest_divisor_up_to(workload_.sequences, limit)));
  }

  [[noreturn]] void refuse_replicas() const {
    throw user_error("plan",
                     "{} replicas do not divide the batch of {} sequences of {} tokens; set "
                     "--replicas {}, or --batch-tokens {}",
                     *space_.replicas, workload_.sequences, workload_.model.seq,
                     nearest_divisor_of(workload_.sequences, *space_.replicas),
                     rounded_up(workload_.sequences, *space_.replicas) * workload_.model.seq);
  }

  static std::int64_t rounded_up(std::int64_t number, std::int64_t step) {
    return (number + step - 1) / step * step;
  }

  void with_replicas(int d, int replicas) {
    const std::int64_t share = workload_.sequences / replicas;
    if (space_.micro_batch) {
      if (share % *space_.micro_batch != 0) {
        // Where the replicas are searched over, another number of them may do.
        if (space_.stages || cluster_.count() == 1) refuse_micro_batch(share, replicas);
        return;
      }
      with_micro_batch(d, replicas, *space_.micro_batch);
      return;
    }
    for (std::int64_t b = 1; b <= std::min(share, most_sequences); ++b) {
      if (share % b == 0) with_micro_batch(d, replicas, b);
    }
  }

  [[noreturn]] void refuse_micro_batch(std::int64_t share, int replicas) const {
    throw user_error("plan",
                     "micro-batches of {} sequences do not divide the {} sequences of each of {} "
                     "replicas; set --micro-batch {}, or --batch-tokens {}",
                     *space_.micro_batch, share, replicas,
                     nearest_divisor_of(share, *space_.micro_batch),
                     rounded_up(share, *space_.micro_batch) * replicas * workload_.model.seq);
  }

  void with_micro_batch(int d, int replicas, std::int64_t micro_batch) {
    const std::int64_t m = workload_.sequences / replicas / micro_batch;
    std::vector<std::string> seen;
    for (const Schedule* schedule : schedules_) {
      for (const int chunks : chunks_of(*schedule)) {
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

  /// With one stage, schedules of the same delay are the same.
  static bool repeats(const Candidate& candidate, std::vector<std::string>& seen) {
    if (!candidate.schedule->complaint(candidate.shape).empty()) return false;
    const auto limits = candidate.schedule->limits(0, candidate.shape);
    const auto key =
        fmt::format("{} {} {}", limits.most_delay, limits.versions, candidate.shape.chunks > 1);
    if (candidate.shape.chunks > 1) return true;
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
    const std::string complaint = complaint_about(candidate);
    if (!complaint.empty()) {
      reject(result_.rejected, {candidate.schedule, Obstacle::shape, 1, complaint, 0});
      return;
    }
    if (!candidate.schedule->updates_together && workload_.model.tied) {
      const auto reason = fmt::format(
          "schedule '{}' updates every stage alone, so the copies of a tied embedding would part; "
          "set model.tied = false",
          candidate.schedule->name);
      reject(result_.rejected, {candidate.schedule, Obstacle::lone_updates, 1, reason, 0});
      return;
    }
    candidate.pieces = pieces_of(candidate);
    for (const Recompute recompute : space_.recompute) {
      candidate.recompute = recompute;
      const bool wanted = !space_.trainable || not_trainable(workload_, candidate).empty();
      if (wanted) result_.candidates.push_back(candidate);
    }
  }

  std::string complaint_about(const Candidate& candidate) const {
    const auto [d, m, v] = candidate.shape;
    if (candidate.shape.pieces() > units_) {
      return fmt::format("{} stages of {} chunks are {} pieces, but the model has {} units", d, v,
                         candidate.shape.pieces(), units_);
    }
    return candidate.schedule->complaint(candidate.shape);
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

Enumerated enumerate(const Workload& workload, const Cluster& cluster, const Space& space) {
  return Enumeration(workload, cluster, space).run();
}

void reject(std::vector<Rejected>& all, Rejected one) {
  for (auto& group : all) {
    if (group.schedule != one.schedule || group.obstacle != one.obstacle) continue;
    group.count += one.count;
    if (one.bytes < group.bytes) {
      group.bytes = one.bytes;
      group.example = std::move(one.example);
    }
    return;
  }
  all.push_back(std::move(one));
}

}  // namespace penstock::plan
