#pragma once
// The costs that a recorded run had.

#include <cstdint>

#include "simulate/costs.h"
#include "timeline/timeline.h"

namespace penstock::simulate {

struct MeasuredCostsRequest {
  std::int64_t first_batch = 0;  // both included
  std::int64_t last_batch = 0;
  std::size_t most_samples = 256;  // of each table, spread evenly over the batches
  double message_bytes = 0;        // of an activation, if known
};

/// A table of durations for each kind of work, stage and chunk. Dividing B evenly gives dX and dW
/// where the run had only B; their sum gives B where it had only these. The link's latency is
/// the mean time from a message's making to its arrival, where its receiver was already waiting.
Costs measured_costs(const timeline::Timeline& timeline, const MeasuredCostsRequest& request);

}  // namespace penstock::simulate
