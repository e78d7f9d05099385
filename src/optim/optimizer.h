#pragma once
// What an optimizer is: a rule that turns gradients into updates.

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/elementwise.h"

namespace penstock::optim {

/// What belongs to one parameter and lives from update to update. All of it goes into checkpoints.
struct State {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, double> numbers;
};

struct UpdateContext {
  std::int64_t step = 1;                // updates of this parameter so far, this one included
  double lr = 0;                        // after the learning-rate schedule
  double weight_decay = 0;              // of this parameter
  std::optional<double> momentum = {};  // of the schedule; none: peak_momentum()
};

/// Weights move by W <- keep W - step, where `step` is what the correction makes of this
/// optimizer's update u. Decoupled weight decay acts on the newest weights through `keep` and stays
/// outside u, so no correction extrapolates it; coupled decay is part of the gradient, so of u.
/// One object serves any number of parameters; all state is in State. Immutable: any thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Fresh state for a parameter of the weight's shape (fp32). Also for meta tensors, which have no
  /// memory: that is how the state's size is asked for.
  virtual State init(const at::Tensor& weight) const = 0;

  /// Returns u [shape of the gradient], learning rate included. The gradient is fp32, clipped, and
  /// holds coupled weight decay; it must not be changed. The returned tensor is the caller's to
  /// change.
  virtual at::Tensor update(const at::Tensor& gradient, State& state,
                            const UpdateContext& context) const = 0;

  /// Whether update_batch() is better than one update() after the other.
  virtual bool gains_by_batches() const { return false; }
  /// update() of several parameters of one shape and with one context.
  virtual std::vector<at::Tensor> update_batch(const std::vector<at::Tensor>& gradients,
                                               const std::vector<State*>& states,
                                               const UpdateContext& context) const;

  /// Where u[i] depends on g[i] and the i-th elements of the state only: what update() does, as a
  /// rule of one input (the gradient, after `scale`) for one sweep over memory. Advances the
  /// state's numbers. See optim/elementwise.h. Nothing: update() is to be used.
  virtual std::optional<kernels::Sweep> sweep(const at::Tensor& /*gradient*/, double /*scale*/,
                                              State& /*state*/,
                                              const UpdateContext& /*context*/) const {
    return std::nullopt;
  }

  /// Whether sweep() depends on the whole gradient that it is given, a norm of it for example.
  virtual bool looks_at_whole_gradient() const { return false; }

  /// The factor of the newest weights.
  virtual double keep(const UpdateContext& context) const {
    return 1 - context.lr * context.weight_decay;
  }
  /// Whether weight_decay * W is added to the gradient; keep() is 1 then.
  virtual bool couples_weight_decay() const { return false; }

  /// The options `lr` and `weight_decay`. They must be called so and be numbers: routing reads
  /// them.
  virtual double peak_lr() const = 0;
  virtual double weight_decay() const = 0;
  /// The option that a momentum schedule moves.
  virtual double peak_momentum() const { return 0; }
};

using OptimizerPtr = std::unique_ptr<Optimizer>;

}  // namespace penstock::optim
