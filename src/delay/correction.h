#pragma once
// What a correction is: it makes up for gradients that were taken at older weights.

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/elementwise.h"
#include "optim/optimizer.h"

namespace penstock::delay {

/// What is known of the delay in one update of one parameter.
struct DelayContext {
  std::int64_t delay = 1;  ///< Updates between the weights of the gradient and the newest ones.
  double keep = 1;         ///< The optimizer's factor of the newest weights in this update.
  double progress = 0;     ///< Of the run: number of this update / updates, in [0, 1).
};

/// Wraps any optimizer. In every update, in this order:
///   lr        <- lr_factor lr
///   gradient  <- gradient(clipped gradient, newest weights, weights it was taken at)
///   u         <- optimizer(gradient + coupled decay)
///   W(t+1)    <- keep W(t) - step(u)
/// A correction overrides what it changes. The tensor forms serve every device; the sweeps say the
/// same as rules for one sweep over memory (delay/elementwise.h writes both from one text).
/// All state is in optim::State. Immutable: any thread.
class Correction {
 public:
  virtual ~Correction() = default;

  /// Also for meta tensors.
  virtual optim::State init(const at::Tensor& /*weight*/) const { return {}; }

  virtual double lr_factor(const DelayContext& /*context*/) const { return 1; }

  /// Whether gradient() does anything. The weights that the gradient was taken at are those of the
  /// version that the batch's forwards read, in the precision they read it in.
  virtual bool changes_gradient() const { return false; }
  virtual at::Tensor gradient(const at::Tensor& g, const at::Tensor& /*newest*/,
                              const at::Tensor& /*seen*/, optim::State& /*state*/,
                              const DelayContext& /*context*/) const {
    return g;
  }
  /// Inputs: gradient, newest, seen.
  virtual std::optional<kernels::Sweep> gradient_sweep(optim::State& /*state*/,
                                                       const DelayContext& /*context*/) const {
    return std::nullopt;
  }

  /// Whether step() does anything.
  virtual bool changes_step() const { return false; }
  /// u: the optimizer's update of this moment, the callee's to keep. Returns the step that is
  /// subtracted from the weights, the caller's to change.
  virtual at::Tensor step(at::Tensor u, optim::State& /*state*/,
                          const DelayContext& /*context*/) const {
    return u;
  }
  /// Input: u.
  virtual std::optional<kernels::Sweep> step_sweep(optim::State& /*state*/,
                                                   const DelayContext& /*context*/) const {
    return std::nullopt;
  }
};

using CorrectionPtr = std::unique_ptr<Correction>;

}  // namespace penstock::delay
