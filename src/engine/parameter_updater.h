#pragma once
// One parameter's way from a gradient to its next value: correction, optimizer, decay.

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>

#include "delay/correction.h"
#include "engine/change_sample.h"
#include "engine/gradient.h"
#include "engine/stage_state.h"
#include "optim/optimizer.h"

namespace penstock::engine {

/// next = keep newest - correction(optimizer(gradient)), in the order of delay/correction.h.
/// Where optimizer and correction have rules for sweeps and the tensors are fp32 in main memory,
/// everything happens in one sweep over memory; elsewhere, tensor by tensor.
/// Owns the state of optimizer and correction for this parameter. Used by one thread.
class ParameterUpdater {
 public:
  /// `optimizer` and `correction` must outlive this object and may be shared.
  ParameterUpdater(const optim::Optimizer& optimizer, const delay::Correction& correction,
                   double weight_decay, const at::Tensor& weight);

  /// What an update depends on besides the tensors.
  struct Moment {
    std::int64_t step = 1;                ///< Updates so far, this one included.
    double lr = 0;                        ///< Before the correction's factor.
    std::optional<double> momentum = {};  ///< None: the optimizer's own.
    double progress = 0;                  ///< Of the run, in [0, 1).
  };

  /// The gradient is not changed. Returns how far update and weights have moved.
  GroupChange apply(const Gradient& gradient, const Moment& moment, const WeightPlaces& weights);

  /// The same in two parts, for optimizers that work on several parameters at once: what the
  /// optimizer is to be given, and what is done with its update.
  at::Tensor optimizer_input(const Gradient& gradient, const Moment& moment,
                             const WeightPlaces& weights);
  GroupChange finish(const at::Tensor& u, const Gradient& gradient, const Moment& moment,
                     const WeightPlaces& weights);
  optim::UpdateContext optimizer_context(const Gradient& gradient, const Moment& moment) const;
  optim::State& optimizer_state() { return optimizer_state_; }

  /// What optimizer and correction keep of this parameter.
  std::int64_t state_bytes() const;

  /// `name`: of the parameter, part of the tensors' names.
  void capture(StageState& state, const std::string& prefix, const std::string& name) const;
  void restore(const StageState& state, const std::string& prefix, const std::string& name);

 private:
  std::optional<GroupChange> apply_in_one_sweep(const Gradient& gradient, const Moment& moment,
                                                const WeightPlaces& weights);
  delay::DelayContext delay_context(const Gradient& gradient, const Moment& moment) const;
  optim::UpdateContext context_with(const delay::DelayContext& delay, const Moment& moment) const;
  double coupled_decay() const;

  const optim::Optimizer* optimizer_;
  const delay::Correction* correction_;
  double weight_decay_;
  optim::State optimizer_state_;
  optim::State correction_state_;
  ChangeSample change_;
};

}  // namespace penstock::engine
