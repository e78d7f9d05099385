#pragma once
// Where a stage's time went over some updates, operation by operation.

#include <cstdint>
#include <vector>

#include "base/operation_total.h"
#include "timeline/usage.h"

namespace penstock::engine {

struct StageProfile {
  int stage = 0;
  std::int64_t updates = 0;
  double seconds = 0;  // of the clock, evaluations included
  /// Of training work; sums over the updates. Those of the part "rest" are actions of the schedule:
  /// what they took beyond the operations inside of them.
  std::vector<OperationTotal> operations{};
  timeline::Usage usage{};     // idle is not filled in
  double waited_for_core = 0;  // in no part of `usage`
};

}  // namespace penstock::engine
