// Basis rotation: Adam whose second moments, but not its momentum, live in a basis that fits the
// curvature, made against delay. In every update
//   L, R <- averages of G G^T, G^T G with beta2; in the first update their eigenvectors U, V, and
//   every `refresh_every` updates U, V <- refreshed (optim/rotated_basis.h), v sorted with them;
//   m <- average of G;  v <- average of (U^T G V)^2;
//   u = lr sqrt(bc2) / bc1 U ((U^T m V) / (sqrt(v) + eps)) V^T,  bc_i = 1 - product of beta_i.
// Source: Jung et al. 2026, arXiv 2602.03515, and the authors' implementation with both sides
// rotated by second-order averages.

#include "optim/registry.h"
#include "optim/rotated_adam.h"
#include "optim/rotated_basis.h"

namespace penstock::optim {
namespace {

const config::OptionTable<RotatedAdamOptions>& option_table() {
  static const auto table = rotated_adam_options(1e-3, 0.9, 0.999);
  return table;
}

class BasisRotation final : public RotatedAdam {
 public:
  using RotatedAdam::RotatedAdam;

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    const double rate = advance_rate(state, context);
    const RotatedBasis basis = fitting_basis(gradient, state, context.step);
    const at::Tensor& m = state.tensors.at("m").lerp_(gradient, 1 - beta1(context));
    return basis.rotate_back(
        divide_by_root(basis.rotate(m), basis.rotate(gradient), state).mul_(rate));
  }

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
