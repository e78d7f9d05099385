#pragma once
// What an optimizer is: a rule that turns gradients into updates.

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace penstock::optim {

/// Named tensors that belong to one parameter and live from update to update.
using State = std::map<std::string, at::Tensor>;

struct UpdateContext {
  std::int64_t step = 1;  // updates of this parameter so far, this one included
  double lr = 0;          // after the learning-rate schedule
};

/// Weights move by W <- W (1 - lr weight_decay) - step, where `step` is what the correction makes
/// of this optimizer's update u. Weight decay is decoupled: it acts on the newest weights and stays
/// outside u, so no correction extrapolates it.
/// One object serves any number of parameters; all state is in State. Immutable: any thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Fresh state for a parameter of the weight's shape (fp32).
  virtual State init(const at::Tensor& weight) const = 0;

  /// Returns u [shape of the gradient], learning rate included. The gradient is fp32 and clipped;
  /// it must not be changed. The returned tensor is the caller's to change.
  virtual at::Tensor update(const at::Tensor& gradient, State& state,
                            const UpdateContext& context) const = 0;

  virtual double peak_lr() const = 0;
  virtual double weight_decay() const = 0;
};

using OptimizerPtr = std::unique_ptr<Optimizer>;

}  // namespace penstock::optim
