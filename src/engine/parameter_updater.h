#pragma once
// One parameter's way from a gradient to its next value: optimizer, then correction, then decay.

#include <ATen/ATen.h>

#include <string>

#include "delay/correction.h"
#include "engine/change_sample.h"
#include "engine/stage_state.h"
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
  /// changed. Returns how far update and weights have moved.
  GroupChange apply(const at::Tensor& gradient, const optim::UpdateContext& context,
                    const at::Tensor& newest, at::Tensor next);

  /// `name`: of the parameter, part of the tensors' names.
  void capture(StageState& state, const std::string& prefix, const std::string& name) const;
  void restore(const StageState& state, const std::string& prefix, const std::string& name);

 private:
  const optim::Optimizer* optimizer_;
  const delay::Correction* correction_;
  double weight_decay_;
  optim::State optimizer_state_;
  optim::State correction_state_;
  ChangeSample change_;
};

}  // namespace penstock::engine
