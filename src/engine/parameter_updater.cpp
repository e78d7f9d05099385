#include "engine/parameter_updater.h"

namespace penstock::engine {
namespace {

std::string place(const std::string& prefix, const char* owner, const std::string& key,
                  const std::string& name) {
  return prefix + owner + "." + key + "." + name;
}

}  // namespace

ParameterUpdater::ParameterUpdater(const optim::Optimizer& optimizer,
                                   const delay::Correction& correction, double weight_decay,
                                   const at::Tensor& weight)
    : optimizer_(&optimizer),
      correction_(&correction),
      weight_decay_(weight_decay),
      optimizer_state_(optimizer.init(weight)),
      correction_state_(correction.init(weight)),
      change_(weight) {}

GroupChange ParameterUpdater::apply(const at::Tensor& gradient, const optim::UpdateContext& context,
                                    const at::Tensor& newest, at::Tensor next) {
  at::Tensor u = optimizer_->update(gradient, optimizer_state_, context);
  change_.before(u, newest);
  const at::Tensor step = correction_->step(std::move(u), correction_state_);
  at::mul_out(next, newest, at::scalar_tensor(1 - context.lr * weight_decay_));
  next.sub_(step);
  return change_.after(next);
}

void ParameterUpdater::capture(StageState& state, const std::string& prefix,
                               const std::string& name) const {
  for (const auto& [key, tensor] : optimizer_state_) {
    state.add(place(prefix, "optimizer", key, name), tensor);
  }
  for (const auto& [key, tensor] : correction_state_) {
    state.add(place(prefix, "correction", key, name), tensor);
  }
  state.add(place(prefix, "sample", "previous_update", name), change_.previous_update());
}

void ParameterUpdater::restore(const StageState& state, const std::string& prefix,
                               const std::string& name) {
  for (auto& [key, tensor] : optimizer_state_) {
    restore_into(tensor, state, place(prefix, "optimizer", key, name));
  }
  for (auto& [key, tensor] : correction_state_) {
    restore_into(tensor, state, place(prefix, "correction", key, name));
  }
  change_.set_previous_update(state.floats(place(prefix, "sample", "previous_update", name)));
}

}  // namespace penstock::engine
