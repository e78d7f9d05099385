#pragma once
// What SOAP and basis rotation share: Adam's options and state beside a rotated basis.

#include <cstdint>

#include "config/config.h"
#include "config/option.h"
#include "optim/optimizer.h"

namespace penstock::optim {

struct RotatedAdamOptions {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  std::int64_t refresh_every = 0;
  std::int64_t max_dim = 0;
};

/// The options with these defaults.
config::OptionTable<RotatedAdamOptions> rotated_adam_options(double lr, double beta1, double beta2);

/// State: m, v, their products of decay rates, and a RotatedBasis.
class RotatedAdam : public Optimizer {
 public:
  explicit RotatedAdam(const RotatedAdamOptions& options) : options_(options) {}

  State init(const at::Tensor& weight) const override;
  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 protected:
  double beta1(const UpdateContext& context) const {
    return context.momentum.value_or(options_.beta1);
  }
  /// lr sqrt(bc2) / bc1 with bc_i = 1 - product of beta_i, this update's included.
  double advance_rate(State& state, const UpdateContext& context) const;
  /// v <- average of g^2; returns m / (sqrt(v) + eps), all in the rotated basis.
  at::Tensor divide_by_root(const at::Tensor& m, const at::Tensor& g, State& state) const;

  const RotatedAdamOptions options_;
};

}  // namespace penstock::optim
