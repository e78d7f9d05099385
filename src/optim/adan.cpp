// Adan: with d = g - g_prev (0 in the first update), m, e, n <- exponential averages of g, d and
// (g + beta2 d)^2, of which each keeps its own beta1, beta2, beta3:
//   u = lr (m / bc1 + beta2 e / bc2) / (sqrt(n) / sqrt(bc3) + eps),  w <- (w - u) / (1 + lr decay)
// with bc_i = 1 - (product of all beta_i so far). The proximal decay divides the whole: here keep()
// is 1 / (1 + lr decay) and u carries that factor, so corrections see what the weights move by.
// Consecutive gradients are compared: under delay both are old by the same number of updates.
// g_prev is the gradient as it was given, clipped. Source: Xie et al. 2022, arXiv 2208.06677, whose
// betas are 1 minus these; the authors' code has none of the paper's restarts, and neither have we.

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
  double beta3 = 0;
  double eps = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.02, Range::at_least(0),
                "proximal weight decay of matrices and embeddings")
          .real("beta1", &Options::beta1, 0.98, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.92, Range::below(0, 1),
                "average of the gradient's change, and its weight in the update")
          .real("beta3", &Options::beta3, 0.99, Range::below(0, 1), "average of the square")
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m", "change", "n", "previous_gradient"};
  static constexpr std::array product_names = {"beta1_product", "beta2_product", "beta3_product"};
  double beta1, beta2, beta3, eps, has_previous, bias3, of_average, of_change;

  template <class T>
  T operator()(const T& g, T& m, T& change, T& n, T& previous) const {
    using kernels::number;
    const T d = (g - previous) * number<T>(has_previous);
    const T ahead = g + d * number<T>(beta2);
    m = m * number<T>(beta1) + g * number<T>(1 - beta1);
    change = change * number<T>(beta2) + d * number<T>(1 - beta2);
    n = n * number<T>(beta3) + ahead * ahead * number<T>(1 - beta3);
    previous = g;
    const T root = kernels::root(n) * number<T>(1 / std::sqrt(bias3)) + number<T>(eps);
    return (m * number<T>(of_average) + change * number<T>(of_change)) / root;
  }
};

class Adan final : public ElementwiseOptimizer<Rule> {
 public:
  explicit Adan(const Options& options) : options_(options) {}

  double keep(const UpdateContext& context) const override {
    return 1 / (1 + context.lr * context.weight_decay);
  }
  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  Rule rule(const at::Tensor&, double, State& state, const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    const double beta2 = options_.beta2;
    const double size = context.lr * keep(context);
    const bool first = state.numbers.at("beta3_product") == 1;
    return {.beta1 = beta1,
            .beta2 = beta2,
            .beta3 = options_.beta3,
            .eps = options_.eps,
            .has_previous = first ? 0.0 : 1.0,
            .bias3 = 1 - advance_product(state, "beta3_product", options_.beta3),
            .of_average = size / (1 - advance_product(state, "beta1_product", beta1)),
            .of_change = size * beta2 / (1 - advance_product(state, "beta2_product", beta2))};
  }

  const Options options_;
};

}  // namespace

Entry adan() {
  return {{.name = "adan",
           .summary = "Adam with Nesterov momentum from the change of the gradient",
           .source = "Xie et al. 2022, arXiv 2208.06677",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Adan>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
