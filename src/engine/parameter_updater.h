#pragma once
// One parameter's way from a gradient to its next value: optimizer, then correction, then decay.

#include <ATen/ATen.h>

#include "delay/correction.h"
#include "optim/optimizer.h"

namespace penstock::engine {

/// next = newest (1 - lr weight_decay) - correction(optimizer(gradient)).
/// Owns the state of optimizer and correction for this parameter. Used by one thread.
class ParameterUpdater {
 public:
  /// `optimizer` and `correction` must outlive this object and may be shared.
  ParameterUpdater(const optim::Optimizer& optimizer, const delay::Correction& correction,
                   double weight_decay, const at::Tensor& weight);

  /// All tensors fp32 and of the parameter's shape; `next` may be `newest`. The gradient is not
  /// changed.
  void apply(const at::Tensor& gradient, const optim::UpdateContext& context,
             const at::Tensor& newest, at::Tensor next);

 private:
  const optim::Optimizer* optimizer_;
  const delay::Correction* correction_;
  double weight_decay_;
  optim::State optimizer_state_;
  optim::State correction_state_;
};

}  // namespace penstock::engine
