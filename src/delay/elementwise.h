#pragma once
// Corrections whose rule is elementwise: one text for the fused sweep and for tensors.

#include <array>
#include <utility>
#include <vector>

#include "delay/correction.h"
#include "kernels/elementwise.h"

namespace penstock::delay {

namespace detail {

template <class Rule>
std::vector<at::Tensor> columns(const optim::State& state) {
  std::vector<at::Tensor> tensors;
  for (const char* name : Rule::state_names) tensors.push_back(state.tensors.at(name));
  return tensors;
}

}  // namespace detail

/// Changes the step. Rule: static constexpr std::array<const char*, n> state_names; and
/// template <class T> T operator()(const T& u, T& state...) const, which returns the step.
template <class Rule>
class StepCorrection : public Correction {
 public:
  bool changes_step() const final { return true; }

  at::Tensor step(at::Tensor u, optim::State& state, const DelayContext& context) const final {
    return kernels::apply_to_tensors<1, states>(rule(context), {std::move(u)},
                                                detail::columns<Rule>(state));
  }
  std::optional<kernels::Sweep> step_sweep(optim::State& state,
                                           const DelayContext& context) const final {
    return kernels::Sweep{kernels::block_rule<1, states>(rule(context)),
                          detail::columns<Rule>(state)};
  }

 protected:
  virtual Rule rule(const DelayContext& context) const = 0;

 private:
  static constexpr std::size_t states = Rule::state_names.size();
};

/// Changes the gradient. Rule as above with
/// template <class T> T operator()(const T& gradient, const T& newest, const T& seen, T& state...).
template <class Rule>
class GradientCorrection : public Correction {
 public:
  bool changes_gradient() const final { return true; }

  at::Tensor gradient(const at::Tensor& g, const at::Tensor& newest, const at::Tensor& seen,
                      optim::State& state, const DelayContext& context) const final {
    return kernels::apply_to_tensors<3, states>(rule(context), {g, newest, seen},
                                                detail::columns<Rule>(state));
  }
  std::optional<kernels::Sweep> gradient_sweep(optim::State& state,
                                               const DelayContext& context) const final {
    return kernels::Sweep{kernels::block_rule<3, states>(rule(context)),
                          detail::columns<Rule>(state)};
  }

 protected:
  virtual Rule rule(const DelayContext& context) const = 0;

 private:
  static constexpr std::size_t states = Rule::state_names.size();
};

}  // namespace penstock::delay
