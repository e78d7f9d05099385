#pragma once
// What a correction is: it turns an optimizer's update into the step that is taken.

#include <ATen/ATen.h>

#include <memory>

#include "optim/optimizer.h"

namespace penstock::delay {

/// Wraps any optimizer and sees only its updates. All state is in optim::State.
/// Immutable: any thread.
class Correction {
 public:
  virtual ~Correction() = default;

  virtual optim::State init(const at::Tensor& weight) const = 0;

  /// u: the optimizer's update of this moment, the callee's to keep. Returns the step that is
  /// subtracted from the weights, the caller's to change.
  virtual at::Tensor step(at::Tensor u, optim::State& state) const = 0;
};

using CorrectionPtr = std::unique_ptr<Correction>;

}  // namespace penstock::delay
