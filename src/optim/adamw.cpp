// AdamW: m, v <- exponential averages of g, g^2; u = lr (m / bc1) / (sqrt(v / bc2) + eps) with
// bc_i = 1 - (product of all beta_i so far). Source: Loshchilov and Hutter 2019, arXiv 1711.05101.
//
// With a lead, m + lead (m - m_before) stands for m in u: where the average will be `lead` updates
// on. For late gradients; needs no memory, since m - m_before = (1 - beta1) (g - m_before). Ours;
// evidence in docs/results/corrections.md.

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
          .real("lead", &Options::lead, 0.0, Range::at_least(0),
                "how many updates the average of the gradient is extrapolated");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m", "v"};
  static constexpr std::array product_names = {"beta1_product", "beta2_product"};
  double beta1, beta2, eps, lead, lr, bias1, bias2;

  template <class T>
  T operator()(const T& g, T& m, T& v) const {
    using kernels::number;
    const T change = (g - m) * number<T>(1 - beta1);
    m = m + change;
    v = v * number<T>(beta2) + g * g * number<T>(1 - beta2);
    const T root = kernels::root(v) * number<T>(1 / std::sqrt(bias2)) + number<T>(eps);
    return (m + change * number<T>(lead)) * number<T>(lr / bias1) / root;
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
    return {.beta1 = beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .lead = options_.lead,
            .lr = context.lr,
            .bias1 = 1 - advance_product(state, "beta1_product", beta1),
            .bias2 = 1 - advance_product(state, "beta2_product", options_.beta2)};
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
