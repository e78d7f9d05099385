#include "optim/momentum_schedule.h"

#include <algorithm>

namespace penstock::optim {

double MomentumSchedule::at(std::int64_t update, double peak) const {
  double part = 1;
  if (warmup > 0) {
    part = std::min(part, static_cast<double>(update) / static_cast<double>(warmup));
  }
  if (cooldown > 0) {
    const std::int64_t to_follow = updates - 1 - update;
    part = std::min(part, static_cast<double>(to_follow) / static_cast<double>(cooldown));
  }
  // The peak itself, not a sum that is rounded to something beside it.
  if (part == 1 || peak <= start) return peak;
  return start + (peak - start) * part;
}

MomentumSchedule momentum_schedule(const config::Config& config) {
  return {.updates = config.updates(),
          .warmup = config.train.momentum_warmup,
          .cooldown = config.train.momentum_cooldown,
          .start = config.train.momentum_start};
}

}  // namespace penstock::optim
