#pragma once
// All candidates of a space.

#include <cstdint>
#include <optional>
#include <vector>

#include "plan/search.h"

namespace penstock::plan {

/// Micro-batches x pieces of a candidate: more would take minutes to simulate.
inline constexpr std::int64_t most_simulated = std::int64_t{1} << 20;

struct Enumerated {
  std::vector<Candidate> candidates;  // that their schedules accept
  std::vector<Rejected> rejected;     // of every Obstacle but memory
};

/// Every number of stages up to ranks and units, with as many replicas as ranks and batch allow,
/// micro-batches that divide a replica's share, every schedule and recomputation of the space.
/// Errors: those of check_space, and of refuse_micro_batch for given stages. Without given stages
/// nothing is found where the micro-batch divides no share.
Enumerated enumerate(const Workload& workload, const Cluster& cluster, const Space& space);

/// Errors: UserError where stages, replicas and `trainable` cannot be met by model, batch and
/// cluster: rule, values, nearest setting.
void check_space(const Workload& workload, const Cluster& cluster, const Space& space);

/// Throws the UserError for a given micro-batch that does not divide the replicas' share.
[[noreturn]] void refuse_micro_batch(int stages, const Workload& workload, const Cluster& cluster,
                                     const Space& space);

/// Why a schedule cannot be planned with in this shape; none where it can. The example of
/// Obstacle::size ends without a remedy.
std::optional<Rejected> rejection(const Workload& workload, const schedule::Schedule& schedule,
                                  std::int64_t stages, std::int64_t micro_batches,
                                  std::int64_t chunks);

/// Counts a rejection; keeps the example that is nearest to possible.
void reject(std::vector<Rejected>& all, Rejected one);

}  // namespace penstock::plan
