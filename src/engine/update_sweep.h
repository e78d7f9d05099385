#pragma once
// An update of one parameter in a single sweep over memory.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

#include "engine/gradient.h"
#include "kernels/elementwise.h"

namespace penstock::engine {

/// Block by block: g = scale gradient -> gradient rule -> + decay newest -> update rule -> step
/// rule
/// -> next = keep newest - step -> compute. Rules that are missing change nothing.
struct UpdateSweep {
  const Gradient* gradient = nullptr;  ///< null: `u` is given, and there is no update rule.
  at::Tensor u = {};
  const WeightPlaces* weights = nullptr;
  double coupled_decay = 0;
  double keep = 1;
  const kernels::Sweep* gradient_rule = nullptr;  ///< Of gradient, newest and seen weights.
  const kernels::Sweep* update_rule = nullptr;    ///< Of the gradient.
  const kernels::Sweep* step_rule = nullptr;      ///< Of the update.
  /// Is shown every block of the update: its first element, the values, how many. On any of
  /// LibTorch's threads.
  std::function<void(std::int64_t, const float*, std::int64_t)> watch_update = {};
};

/// Whether a tensor can take part: fp32 or bf16, contiguous, in main memory.
bool sweepable(const at::Tensor& tensor);

/// All tensors of one shape. The result does not depend on the number of threads.
void run(const UpdateSweep& sweep);

}  // namespace penstock::engine
