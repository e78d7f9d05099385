#pragma once
// The learning rate over a run.

#include <cstdint>

#include "config/config.h"

namespace penstock::optim {

/// The factor of update b (from 0) of `updates` is (b + 1) / warmup while b < warmup. After that,
/// with p = (b - warmup) / (updates - warmup) and f = final_factor:
///
///   cosine    f + (1 - f) (1 + cos(pi p)) / 2
///   linear    f + (1 - f) (1 - p)
///   constant  1
///   wsd       1 until the last `decay` updates, then f + (1 - f) (updates - b) / decay
///             ("warm-up, stable, decay": Hu et al. 2024, arXiv 2404.06395)
///
/// So each is 1 where the warm-up ends, and f would be the factor of the first update that is not
/// made. Defined for 0 <= b < updates and warmup + decay <= updates.
struct LrSchedule {
  std::int64_t updates = 0;
  std::int64_t warmup = 0;
  double final_factor = 0.1;
  config::LrShape shape = config::LrShape::cosine;
  std::int64_t decay = 0;

  double factor(std::int64_t update) const;
};

/// The schedule of [train].
LrSchedule lr_schedule(const config::Config& config);

}  // namespace penstock::optim
