#include "optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace penstock::optim {
namespace {

/// part / whole of counts; 1 where the whole is nothing.
double fraction(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 1 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

double LrSchedule::factor(std::int64_t update) const {
  if (update < warmup) return fraction(update + 1, warmup);
  const double to_fall = 1 - final_factor;
  switch (shape) {
    case config::LrShape::cosine: {
      const double progress = fraction(update - warmup, updates - warmup);
      return final_factor + to_fall * (1 + std::cos(std::numbers::pi * progress)) / 2;
    }
    case config::LrShape::linear:
      return final_factor + to_fall * fraction(updates - update, updates - warmup);
    case config::LrShape::constant:
      return 1;
    case config::LrShape::wsd:
      if (update < updates - decay) return 1;
      return final_factor + to_fall * fraction(updates - update, decay);
  }
  throw std::logic_error("unknown shape of a learning-rate schedule");
}

LrSchedule lr_schedule(const config::Config& config) {
  return {.updates = config.updates(),
          .warmup = config.train.warmup,
          .final_factor = config.train.final_lr,
          .shape = config.train.lr_schedule,
          .decay = config.train.decay};
}

}  // namespace penstock::optim
