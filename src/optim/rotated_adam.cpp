#include "optim/rotated_adam.h"

#include <cmath>

#include "optim/elementwise.h"
#include "optim/rotated_basis.h"

namespace penstock::optim {

config::OptionTable<RotatedAdamOptions> rotated_adam_options(double lr, double beta1,
                                                             double beta2) {
  using config::Range;
  using Options = RotatedAdamOptions;
  config::OptionTable<Options> table;
  table.real("lr", &Options::lr, lr, Range::above(0), "peak learning rate")
      .real("weight_decay", &Options::weight_decay, 0.01, Range::at_least(0),
            "decoupled weight decay")
      .real("beta1", &Options::beta1, beta1, Range::below(0, 1), "average of the gradient")
      .real("beta2", &Options::beta2, beta2, Range::below(0, 1),
            "average of its square, and of the matrices whose eigenvectors are the basis")
      .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root")
      .integer("refresh_every", &Options::refresh_every, 10, Range::at_least(1),
               "updates between refreshes of the basis")
      .integer("max_dim", &Options::max_dim, 10000, Range::at_least(0),
               "a longer side of a matrix is not rotated");
  return table;
}

State RotatedAdam::init(const at::Tensor& weight) const {
  State state;
  state.tensors = {{"m", at::zeros_like(weight)}, {"v", at::zeros_like(weight)}};
  state.numbers = {{"beta1_product", 1.0}, {"beta2_product", 1.0}};
  RotatedBasis::init(state, weight, options_.max_dim);
  return state;
}

double RotatedAdam::advance_rate(State& state, const UpdateContext& context) const {
  const double bias1 = 1 - advance_product(state, "beta1_product", beta1(context));
  const double bias2 = 1 - advance_product(state, "beta2_product", options_.beta2);
  return context.lr * std::sqrt(bias2) / bias1;
}

at::Tensor RotatedAdam::divide_by_root(const at::Tensor& m, const at::Tensor& g,
                                       State& state) const {
  at::Tensor& v = state.tensors.at("v").mul_(options_.beta2);
  v.addcmul_(g, g, 1 - options_.beta2);
  at::Tensor u = v.sqrt().add_(options_.eps);
  return at::div_out(u, m, u);
}

}  // namespace penstock::optim
