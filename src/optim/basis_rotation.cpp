// Basis rotation: Adam whose second moments, but not its momentum, live in a basis that fits the
// curvature, made against delay. In every update
//   L, R <- averages of G G^T, G^T G with beta2; in the first update their eigenvectors U, V, and
//   every `refresh_every` updates U, V <- refreshed (optim/rotated_basis.h), v sorted with them;
//   m <- average of G;  v <- average of (U^T G V)^2;
//   u = lr sqrt(bc2) / bc1 U ((U^T m V) / (sqrt(v) + eps)) V^T,  bc_i = 1 - product of beta_i.
// Source: Jung et al. 2026, arXiv 2602.03515, and the authors' implementation with both sides
// rotated by second-order averages.

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
          .real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.01, Range::at_least(0),
                "decoupled weight decay")
          .real("beta1", &Options::beta1, 0.9, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.999, Range::below(0, 1),
                "average of its square, and of the matrices whose eigenvectors are the basis")
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root")
          .integer("refresh_every", &Options::refresh_every, 10, Range::at_least(1),
                   "updates between refreshes of the basis")
          .integer("max_dim", &Options::max_dim, 10000, Range::at_least(0),
                   "a longer side of a matrix is not rotated");
  return table;
}

class BasisRotation final : public Optimizer {
 public:
  explicit BasisRotation(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    State state;
    state.tensors = {{"m", at::zeros_like(weight)}, {"v", at::zeros_like(weight)}};
    state.numbers = {{"beta1_product", 1.0}, {"beta2_product", 1.0}};
    RotatedBasis::init(state, weight, options_.max_dim);
    return state;
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    const double bias1 = 1 - advance_product(state, "beta1_product", beta1);
    const double bias2 = 1 - advance_product(state, "beta2_product", options_.beta2);
    at::Tensor& v = state.tensors.at("v");
    const RotatedBasis basis = fitting_basis(gradient, state, context.step);

    const at::Tensor& m = state.tensors.at("m").lerp_(gradient, 1 - beta1);
    const at::Tensor rotated = basis.rotate(gradient);
    v.mul_(options_.beta2).addcmul_(rotated, rotated, 1 - options_.beta2);
    at::Tensor u = v.sqrt().add_(options_.eps);
    at::div_out(u, basis.rotate(m), u).mul_(context.lr * std::sqrt(bias2) / bias1);
    return basis.rotate_back(u);
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  /// The basis that this update works in, which has seen its gradient.
  RotatedBasis fitting_basis(const at::Tensor& gradient, State& state, std::int64_t step) const {
    RotatedBasis basis(state);
    basis.accumulate(gradient, options_.beta2);
    if (step == 1) {
      basis.start();
    } else if (step % options_.refresh_every == 0) {
      basis.refresh(state.tensors.at("v"));
    }
    return basis;
  }

  const Options options_;
};

}  // namespace

Entry basis_rotation() {
  return {{.name = "basis_rotation",
           .summary = "Adam with second moments in the gradients' eigenbasis, made against delay",
           .source = "Jung et al. 2026, arXiv 2602.03515",
           .options = option_table().specs(),
           .takes_matrices_only = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<BasisRotation>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
