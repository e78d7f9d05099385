// SOAP: Adam in the basis of Shampoo's eigenvectors. The first update only takes averages L of G
// G^T and R of G^T G and their eigenvectors P, Q (optim/rotated_basis.h). In every other one
//   G' = P^T G Q;  m, v <- averages of G', G'^2;
//   u = lr sqrt(bc2) / bc1 P (m / (sqrt(v) + eps)) Q^T,  bc_i = 1 - product of beta_i;
//   L, R <- averages with beta2; every `refresh_every` updates P, Q <- refreshed, and with them v
//   is sorted and m is expressed in the new basis.
// So no gradient is ever rotated by a basis that it is part of. Source: Vyas et al. 2024,
// arXiv 2409.11321, and the authors' implementation; unlike there, decay acts before u and not
// after it. Like there, the first update does not decay.

#include "optim/registry.h"
#include "optim/rotated_adam.h"
#include "optim/rotated_basis.h"

namespace penstock::optim {
namespace {

const config::OptionTable<RotatedAdamOptions>& option_table() {
  static const auto table = rotated_adam_options(3e-3, 0.95, 0.95);
  return table;
}

class Soap final : public RotatedAdam {
 public:
  using RotatedAdam::RotatedAdam;

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

 private:
  /// Adam's; eps counts before the bias correction.
  at::Tensor rotated_update(const at::Tensor& g, State& state, const UpdateContext& context) const {
    const double rate = advance_rate(state, context);
    const at::Tensor& m = state.tensors.at("m").lerp_(g, 1 - beta1(context));
    return divide_by_root(m, g, state).mul_(rate);
  }
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
