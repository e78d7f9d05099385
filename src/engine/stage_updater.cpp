#include "engine/stage_updater.h"

#include <stdexcept>

#include "delay/registry.h"
#include "model/views.h"
#include "optim/registry.h"

namespace penstock::engine {
namespace {

std::string group_of(model::ParameterKind kind) {
  switch (kind) {
    case model::ParameterKind::embedding:
      return "embedding";
    case model::ParameterKind::matrix:
      return "matrices";
    case model::ParameterKind::head:
      return "head";
    case model::ParameterKind::gain:
      return "gains";
  }
  throw std::logic_error("unknown kind of parameter");
}

}  // namespace

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
                          model::weight_view(parameter, weights)),
         group_of(parameter.spec.kind)});
  }
}

GroupChanges StageUpdater::apply(std::int64_t batch, const at::Tensor& gradients,
                                 const at::Tensor& newest, const at::Tensor& next) {
  const double factor = schedule_.factor(batch);
  ++applied_;
  GroupChanges changes;
  for (auto& [place, optimizer, updater, group] : entries_) {
    changes[group] +=
        updater.apply(model::gradient_view(*place, gradients),
                      {.step = applied_, .lr = optimizer->peak_lr() * factor},
                      model::weight_view(*place, newest), model::weight_view(*place, next));
  }
  return changes;
}

double StageUpdater::learning_rate(std::int64_t batch) const {
  return optimizer_->peak_lr() * schedule_.factor(batch);
}

void StageUpdater::capture(StageState& state, const std::string& prefix) const {
  state.add_integer(prefix + "applied", applied_);
  for (const auto& entry : entries_) {
    entry.updater.capture(state, prefix, entry.place->spec.name);
  }
}

void StageUpdater::restore(const StageState& state, const std::string& prefix) {
  applied_ = state.integer(prefix + "applied");
  for (auto& entry : entries_) entry.updater.restore(state, prefix, entry.place->spec.name);
}

}  // namespace penstock::engine
