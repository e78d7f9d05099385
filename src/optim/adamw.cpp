// AdamW: m, v <- exponential averages of g, g^2; u = lr (m / bc1) / (sqrt(v / bc2) + eps) with
// bc_i = 1 - (product of all beta_i so far). Source: Loshchilov and Hutter 2019, arXiv 1711.05101.
//
// With a lead, n + lead (n - n_before) stands for n = m / bc1 in u: where the average will be
// `lead` updates on. In the first update there is none before. For late gradients; needs no memory,
// since m_before is m's value before it is changed. Ours; evidence in docs/results/corrections.md.

#include <cmath>

#include "optim/elementwise.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  double lead = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.1, Range::at_least(0),
                "decoupled weight decay of matrices and embeddings")
          .real("beta1", &Options::beta1, 0.9, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.95, Range::below(0, 1), "average of its square")
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root")
          .real("lead", &Options::lead, 0.0, Range::between(0, 100),
                "how many updates the average of the gradient is extrapolated");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m", "v"};
  static constexpr std::array product_names = {"beta1_product", "beta2_product"};
  double beta1, beta2, eps, root_factor;
  double newest, before;  // factors of m and of the m before it

  template <class T>
  T operator()(const T& g, T& m, T& v) const {
    using kernels::number;
    const T m_before = m;
    m = m + (g - m) * number<T>(1 - beta1);
    v = v * number<T>(beta2) + g * g * number<T>(1 - beta2);
    const T root = kernels::root(v) * number<T>(root_factor) + number<T>(eps);
    return (m * number<T>(newest) - m_before * number<T>(before)) / root;
  }
};

class AdamW final : public ElementwiseOptimizer<Rule> {
 public:
  explicit AdamW(const Options& options) : options_(options) {}

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  Rule rule(const at::Tensor&, double, State& state, const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    const double bias_before = 1 - state.numbers.at("beta1_product");
    const double bias = 1 - advance_product(state, "beta1_product", beta1);
    const double square_bias = 1 - advance_product(state, "beta2_product", options_.beta2);
    const double lead = bias_before > 0 ? options_.lead : 0;
    return {.beta1 = beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .root_factor = 1 / std::sqrt(square_bias),
            .newest = context.lr * (1 + lead) / bias,
            .before = lead == 0 ? 0 : context.lr * lead / bias_before};
  }

  const Options options_;
};

}  // namespace

Entry adamw() {
  return {{.name = "adamw",
           .summary = "Adam with decoupled weight decay",
           .source = "Loshchilov and Hutter 2019, arXiv 1711.05101",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<AdamW>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
