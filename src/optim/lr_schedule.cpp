#include "optim/lr_schedule.h"

#include <cmath>
#include <numbers>

namespace penstock::optim {

double LrSchedule::factor(std::int64_t update) const {
  if (update < warmup) return static_cast<double>(update + 1) / static_cast<double>(warmup);
  const double progress =
      static_cast<double>(update - warmup) / static_cast<double>(updates - warmup);
  return final_factor + (1 - final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
}

}  // namespace penstock::optim
