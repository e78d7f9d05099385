#include "simulate/durations.h"

#include <fmt/format.h>

#include <cmath>

#include "base/random.h"

namespace penstock::simulate {

Durations::Durations(const Costs& costs, schedule::PipelineShape shape)
    : chunks_(static_cast<std::size_t>(shape.chunks)), micro_batches_(shape.micro_batches) {
  // A log-normal factor exp(sigma z - sigma^2 / 2) has mean 1 and variance exp(sigma^2) - 1.
  sigma_ = std::sqrt(std::log1p(costs.jitter * costs.jitter));
  random_ = costs.jitter > 0;
  for (std::size_t s = 0; s < costs.stages.size(); ++s) {
    const StageCosts& stage = costs.stages[s];
    slowdown_.push_back(stage.slowdown);
    keys_.push_back(random_key(costs.seed, fmt::format("durations of stage {}", s)));
    for (const ChunkCosts& chunk : stage.chunks) {
      for (const Duration* duration : {&chunk.forward, &chunk.backward, &chunk.backward_input,
                                       &chunk.backward_weight, &stage.contribute, &stage.update}) {
        const bool table = !duration->samples.empty();
        random_ = random_ || table;
        tables_.push_back(table ? duration : nullptr);
        expected_.push_back(duration->expected() * stage.slowdown);
      }
    }
  }
}

double Durations::drawn(int stage, const schedule::Action& action, std::size_t at) const {
  const auto occurrence =
      static_cast<std::uint64_t>(action.batch * micro_batches_ + action.micro_batch);
  const auto kind = static_cast<std::uint64_t>(number_of(action.kind));
  const std::uint64_t counter =
      (occurrence * chunks_ + static_cast<std::uint64_t>(action.chunk)) * 8 + kind;
  const std::uint64_t key = keys_[static_cast<std::size_t>(stage)];
  double seconds = expected_[at];
  if (const Duration* table = tables_[at]) {
    const auto size = static_cast<double>(table->samples.size());
    const double drawn = random_uniform(mix(key), counter) * size;
    seconds = table->samples[static_cast<std::size_t>(drawn)] *
              slowdown_[static_cast<std::size_t>(stage)];
  }
  if (sigma_ == 0) return seconds;
  return seconds * std::exp(sigma_ * random_normal(key, counter) - sigma_ * sigma_ / 2);
}

double Durations::pair(int stage, bool split_backward) const {
  double seconds = 0;
  for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
    const double* costs = &expected_[(static_cast<std::size_t>(stage) * chunks_ + chunk) * kinds];
    seconds += costs[0] + (split_backward ? costs[2] + costs[3] : costs[1]);
  }
  return seconds;
}

}  // namespace penstock::simulate
