#include "engine/parameter_updater.h"

namespace penstock::engine {

ParameterUpdater::ParameterUpdater(const optim::Optimizer& optimizer,
                                   const delay::Correction& correction, double weight_decay,
                                   const at::Tensor& weight)
    : optimizer_(&optimizer),
      correction_(&correction),
      weight_decay_(weight_decay),
      optimizer_state_(optimizer.init(weight)),
      correction_state_(correction.init(weight)) {}

void ParameterUpdater::apply(const at::Tensor& gradient, const optim::UpdateContext& context,
                             const at::Tensor& newest, at::Tensor next) {
  at::Tensor u = optimizer_->update(gradient, optimizer_state_, context);
  const at::Tensor step = correction_->step(std::move(u), correction_state_);
  at::mul_out(next, newest, at::scalar_tensor(1 - context.lr * weight_decay_));
  next.sub_(step);
}

}  // namespace penstock::engine
