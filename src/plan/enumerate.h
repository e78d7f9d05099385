#pragma once
// All candidates of a space.

#include <vector>

#include "plan/search.h"

namespace penstock::plan {

struct Enumerated {
  std::vector<Candidate> candidates;  // that their schedules accept
  std::vector<Rejected> rejected;     // Obstacle::shape and lone_updates
};

/// Every number of stages up to ranks and units, with as many replicas as ranks and batch allow,
/// micro-batches that divide a replica's share, every schedule and recomputation of the space.
/// Errors: UserError where the space's own settings cannot be met.
Enumerated enumerate(const Workload& workload, const Cluster& cluster, const Space& space);

/// Counts a rejection; keeps the example that is nearest to possible.
void reject(std::vector<Rejected>& all, Rejected one);

}  // namespace penstock::plan
