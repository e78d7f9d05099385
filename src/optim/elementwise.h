#pragma once
// Optimizers whose rule is elementwise: one text for the fused sweep and for tensors.

#include <array>
#include <vector>

#include "kernels/elementwise.h"
#include "optim/optimizer.h"

namespace penstock::optim {

/// Rule: static constexpr std::array<const char*, n> state_names, product_names; and
/// template <class T> T operator()(const T& gradient, T& state...) const, the states in that order,
/// which returns u and changes the states. States start at 0, products at 1.
template <class Rule>
class ElementwiseOptimizer : public Optimizer {
 public:
  State init(const at::Tensor& weight) const override {
    State state;
    for (const char* name : Rule::state_names) state.tensors[name] = at::zeros_like(weight);
    for (const char* name : Rule::product_names) state.numbers[name] = 1;
    return state;
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const final {
    const Rule now = rule(gradient, 1, state, context);
    return kernels::apply_to_tensors<1, states>(now, {gradient}, columns(state));
  }

  std::optional<kernels::Sweep> sweep(const at::Tensor& gradient, double scale, State& state,
                                      const UpdateContext& context) const final {
    return kernels::Sweep{kernels::block_rule<1, states>(rule(gradient, scale, state, context)),
                          columns(state)};
  }

 protected:
  /// The rule of this update; called once in each, so that numbers may be advanced. `scale` is
  /// still to be multiplied to the gradient.
  virtual Rule rule(const at::Tensor& gradient, double scale, State& state,
                    const UpdateContext& context) const = 0;

 private:
  static constexpr std::size_t states = Rule::state_names.size();

  static std::vector<at::Tensor> columns(const State& state) {
    std::vector<at::Tensor> tensors;
    for (const char* name : Rule::state_names) tensors.push_back(state.tensors.at(name));
    return tensors;
  }
};

/// The product of all values that a decay rate has had, this one included: bias corrections divide
/// by 1 - product.
inline double advance_product(State& state, const char* name, double rate) {
  return state.numbers.at(name) *= rate;
}

/// For rules without products.
inline constexpr std::array<const char*, 0> no_products{};

}  // namespace penstock::optim
