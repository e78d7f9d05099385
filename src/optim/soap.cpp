// SOAP: Adam in the basis of Shampoo's eigenvectors. The first update only takes averages L of G
// G^T and R of G^T G and their eigenvectors P, Q (optim/rotated_basis.h). In every other one
//   G' = P^T G Q;  m, v <- averages of G', G'^2;
//   u = lr sqrt(bc2) / bc1 P (m / (sqrt(v) + eps)) Q^T,  bc_i = 1 - product of beta_i;
//   L, R <- averages with beta2; every `refresh_every` updates P, Q <- refreshed, and with them v
//   is sorted and m is expressed in the new basis.
// So no gradient is ever rotated by a basis that it is part of. Source: Vyas et al. 2024,
// arXiv 2409.11321, and the authors' implementation; unlike there, decay acts before u and not
// after it. Like there, the first update does not decay.

#include <cmath>

#include "optim/elementwise.h"
#include "optim/registry.h"
#include "optim/rotated_basis.h"

namespace penstock::optim {
namespace {

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  std::int64_t refresh_every = 0;
  std::int64_t max_dim = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 3e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.01, Range::at_least(0),
                "decoupled weight decay")
          .real("beta1", &Options::beta1, 0.95, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.95, Range::below(0, 1),
                "average of its square, and of the matrices whose eigenvectors are the basis")
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root")
          .integer("refresh_every", &Options::refresh_every, 10, Range::at_least(1),
                   "updates between refreshes of the basis")
          .integer("max_dim", &Options::max_dim, 10000, Range::at_least(0),
                   "a longer side of a matrix is not rotated");
  return table;
}

class Soap final : public Optimizer {
 public:
  explicit Soap(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    State state;
    state.tensors = {{"m", at::zeros_like(weight)}, {"v", at::zeros_like(weight)}};
    state.numbers = {{"beta1_product", 1.0}, {"beta2_product", 1.0}};
    RotatedBasis::init(state, weight, options_.max_dim);
    return state;
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    RotatedBasis basis(state);
    if (context.step == 1) {
      basis.accumulate(gradient, options_.beta2);
      basis.start();
      return at::zeros_like(gradient);
    }
    const at::Tensor u = basis.rotate_back(rotated_update(basis.rotate(gradient), state, context));
    basis.accumulate(gradient, options_.beta2);
    if ((context.step - 1) % options_.refresh_every == 0) {
      at::Tensor& m = state.tensors.at("m");
      const at::Tensor original = basis.rotate_back(m);
      basis.refresh(state.tensors.at("v"));
      m.copy_(basis.rotate(original));
    }
    return u;
  }

  double keep(const UpdateContext& context) const override {
    return context.step == 1 ? 1 : Optimizer::keep(context);
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  /// Adam's; eps counts before the bias correction.
  at::Tensor rotated_update(const at::Tensor& g, State& state, const UpdateContext& context) const {
    const double beta1 = context.momentum.value_or(options_.beta1);
    const double bias1 = 1 - advance_product(state, "beta1_product", beta1);
    const double bias2 = 1 - advance_product(state, "beta2_product", options_.beta2);
    const at::Tensor& m = state.tensors.at("m").lerp_(g, 1 - beta1);
    at::Tensor& v = state.tensors.at("v").mul_(options_.beta2);
    v.addcmul_(g, g, 1 - options_.beta2);
    at::Tensor u = v.sqrt().add_(options_.eps);
    return at::div_out(u, m, u).mul_(context.lr * std::sqrt(bias2) / bias1);
  }

  const Options options_;
};

}  // namespace

Entry soap() {
  return {{.name = "soap",
           .summary = "Adam in the slowly refreshed eigenbasis of Shampoo",
           .source = "Vyas et al. 2024, arXiv 2409.11321",
           .options = option_table().specs(),
           .takes_matrices_only = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Soap>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
