#include "engine/stage_updater.h"

#include "delay/registry.h"
#include "model/views.h"
#include "optim/registry.h"

namespace penstock::engine {

optim::LrSchedule lr_schedule(const config::Config& config) {
  return {config.updates(), config.train.warmup, config.train.final_lr};
}

StageUpdater::StageUpdater(const config::Config& config, const model::Layout& layout,
                           const at::Tensor& weights)
    : layout_(layout),
      schedule_(lr_schedule(config)),
      optimizer_(optim::make(config.optimizer)),
      fallback_(config.fallback ? optim::make(*config.fallback) : nullptr),
      correction_(delay::make(config.correction)) {
  for (const auto& parameter : layout_.parameters) {
    if (!parameter.updated) continue;
    const bool is_matrix = parameter.spec.kind == model::ParameterKind::matrix;
    const auto& optimizer = fallback_ && !is_matrix ? *fallback_ : *optimizer_;
    const bool decays = parameter.spec.kind != model::ParameterKind::gain;
    entries_.push_back(
        {&parameter, &optimizer,
         ParameterUpdater(optimizer, *correction_, decays ? optimizer.weight_decay() : 0.0,
                          model::weight_view(parameter, weights))});
  }
}

void StageUpdater::apply(std::int64_t batch, const at::Tensor& gradients, const at::Tensor& newest,
                         const at::Tensor& next) {
  const double factor = schedule_.factor(batch);
  for (auto& [place, optimizer, updater] : entries_) {
    updater.apply(model::gradient_view(*place, gradients),
                  {.step = batch + 1, .lr = optimizer->peak_lr() * factor},
                  model::weight_view(*place, newest), model::weight_view(*place, next));
  }
}

double StageUpdater::learning_rate(std::int64_t batch) const {
  return optimizer_->peak_lr() * schedule_.factor(batch);
}

}  // namespace penstock::engine
