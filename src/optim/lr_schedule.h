#pragma once
// The learning rate over a run.

#include <cstdint>

namespace penstock::optim {

/// Linear warm-up, then a cosine. The factor of update b (from 0) of `updates` is
/// (b + 1) / warmup while b < warmup, and then, with p = (b - warmup) / (updates - warmup),
/// final_factor + (1 - final_factor) (1 + cos(pi p)) / 2, so 1 at b = warmup.
/// Defined for 0 <= b < updates.
struct LrSchedule {
  std::int64_t updates = 0;
  std::int64_t warmup = 0;
  double final_factor = 0.1;

  double factor(std::int64_t update) const;
};

}  // namespace penstock::optim
