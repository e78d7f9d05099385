#pragma once
// The optimizer's momentum over a run. The more momentum, the less a stale gradient weighs, but a
// long average is also the last to notice that the landscape has changed: so less of it at the
// beginning, and less at the end, where a shorter average comes closer to the minimum.

#include <cstdint>

#include "config/config.h"

namespace penstock::optim {

/// With b the number of an update from 0, the momentum is
///
///   start + (peak - start) min(1, b / warmup, (updates - 1 - b) / cooldown)
///
/// where a warm-up or cool-down of 0 updates is left out: `start` in the first update of a warm-up
/// and in the last of a cool-down, `peak` from update `warmup` on and until `cooldown` updates are
/// to follow. An optimizer whose own momentum, `peak`, is not above `start` keeps it throughout:
/// the schedule never raises momentum beyond the option.
/// Defined for 0 <= b < updates and warmup + cooldown <= updates.
struct MomentumSchedule {
  std::int64_t updates = 0;
  std::int64_t warmup = 0;
  std::int64_t cooldown = 0;
  double start = 0.85;

  /// Whether it changes anything.
  bool active() const { return warmup > 0 || cooldown > 0; }
  double at(std::int64_t update, double peak) const;
};

/// The schedule of [train].
MomentumSchedule momentum_schedule(const config::Config& config);

}  // namespace penstock::optim
