#pragma once
// Elementwise rules in one text: a rule is a struct whose
//
//   template <class T> T operator()(const T& input..., T& state...) const
//
// is a function of one element (T = float: a vectorised loop over blocks that stay in cache) and of
// whole tensors (T = at::Tensor: any device, any floating type). Both give the same values up to
// the contraction of products and sums into fused operations.

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/vectorize.h"

namespace penstock::kernels {

// What rules are written with, besides + - * /.
inline float root(float x) { return __builtin_sqrtf(x); }
inline at::Tensor root(const at::Tensor& x) { return x.sqrt(); }
/// -1, 0 or 1; NaN stays NaN, which LibTorch's own sign() makes 0.
inline float sign(float x) { return x > 0 ? 1.0F : (x < 0 ? -1.0F : x); }
inline at::Tensor sign(const at::Tensor& x) { return at::where(x.isnan(), x, x.sign()); }

/// A constant in the precision that goes with T.
template <class T>
constexpr auto number(double x) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(x);
  } else {
    return x;
  }
}

/// A rule for blocks of floats, whatever its numbers of inputs and states. Immutable: any thread.
class BlockRule {
 public:
  virtual ~BlockRule() = default;
  /// out[i] = rule(inputs[0][i], ..., states[0][i], ...) for i < n. The columns do not overlap.
  virtual void run(const float* const* inputs, float* const* states, float* out,
                   std::int64_t n) const = 0;
};

/// A rule together with the tensors of its states, in the rule's order: fp32 or bf16, contiguous.
struct Sweep {
  std::unique_ptr<BlockRule> rule;
  std::vector<at::Tensor> states;
};

namespace elementwise {

template <class Rule, std::size_t... I, std::size_t... S>
PENSTOCK_VECTORIZE_TEMPLATE void run(const Rule& rule, const float* const* inputs,
                                     float* const* states, float* out, std::int64_t n,
                                     std::index_sequence<I...>, std::index_sequence<S...>) {
  // Copies, so that the compiler knows that the loop's stores change none of them.
  const Rule own = rule;
  const std::array<const float*, sizeof...(I)> in{inputs[I]...};
  [[maybe_unused]] const std::array<float*, sizeof...(S)> state{states[S]...};
  PENSTOCK_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < n; ++i) out[i] = own(in[I][i]..., state[S][i]...);
}

template <class Rule, std::size_t inputs_, std::size_t states_>
class Block final : public BlockRule {
 public:
  explicit Block(Rule rule) : rule_(std::move(rule)) {}
  void run(const float* const* inputs, float* const* states, float* out,
           std::int64_t n) const override {
    elementwise::run(rule_, inputs, states, out, n, std::make_index_sequence<inputs_>(),
                     std::make_index_sequence<states_>());
  }

 private:
  Rule rule_;
};

template <class Rule, std::size_t... I, std::size_t... S>
at::Tensor on_tensors(const Rule& rule, const std::vector<at::Tensor>& inputs,
                      std::vector<at::Tensor>& states, std::index_sequence<I...>,
                      std::index_sequence<S...>) {
  return rule(inputs[I]..., states[S]...);
}

}  // namespace elementwise

/// More states than any rule has; who calls a BlockRule makes room for so many.
inline constexpr std::size_t most_states = 8;

template <std::size_t inputs, std::size_t states, class Rule>
std::unique_ptr<BlockRule> block_rule(Rule rule) {
  static_assert(states <= most_states);
  return std::make_unique<elementwise::Block<Rule, inputs, states>>(std::move(rule));
}

/// The rule on whole tensors; `states` are changed in place. A bf16 state is computed with in fp32.
template <std::size_t inputs, std::size_t states, class Rule>
at::Tensor apply_to_tensors(const Rule& rule, const std::vector<at::Tensor>& in,
                            const std::vector<at::Tensor>& state) {
  std::vector<at::Tensor> values;
  for (const at::Tensor& tensor : state) {
    values.push_back(tensor.scalar_type() == at::kBFloat16 ? tensor.to(at::kFloat) : tensor);
  }
  at::Tensor result = elementwise::on_tensors(rule, in, values, std::make_index_sequence<inputs>(),
                                              std::make_index_sequence<states>());
  for (std::size_t s = 0; s < state.size(); ++s) {
    if (!values[s].is_same(state[s])) at::Tensor(state[s]).copy_(values[s]);
  }
  return result;
}

}  // namespace penstock::kernels
