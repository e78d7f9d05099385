// NAdamW as AsyncPP trains with it: m, v <- exponential averages of g, g^2;
//   mu_t = beta1 (1 - 0.5 * 0.96^(psi t))
//   u = lr (mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g / (1 - mu_1 ... mu_t))
//       / (sqrt(v / (1 - beta2^t)) + eps)
// with decoupled weight decay: torch.optim.NAdam's rule with other defaults. beta1 of 0.99 is what
// makes it bear delay. t counts the updates of the parameter. Sources: Dozat 2016, "Incorporating
// Nesterov Momentum into Adam"; Ajanthan et al. 2025 (AsyncPP), "Nesterov Method for Asynchronous
// Pipeline Parallel Optimization".

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
  double psi = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.01, Range::at_least(0),
                "decoupled weight decay of matrices and embeddings")
          .real("beta1", &Options::beta1, 0.99, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.999, Range::below(0, 1), "average of its square")
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root")
          .real("psi", &Options::psi, 0.004, Range::at_least(0),
                "how fast the look-ahead's momentum rises from beta1 / 2 to beta1");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m", "v"};
  static constexpr std::array product_names = {"mu_product", "beta2_product"};
  double beta1, beta2, eps, bias2, of_average, of_gradient;

  template <class T>
  T operator()(const T& g, T& m, T& v) const {
    using kernels::number;
    m = m + (g - m) * number<T>(1 - beta1);
    v = v * number<T>(beta2) + g * g * number<T>(1 - beta2);
    const T root = kernels::root(v) * number<T>(1 / std::sqrt(bias2)) + number<T>(eps);
    return (m * number<T>(of_average) + g * number<T>(of_gradient)) / root;
  }
};

class NAdamW final : public ElementwiseOptimizer<Rule> {
 public:
  explicit NAdamW(const Options& options) : options_(options) {}

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  Rule rule(const at::Tensor&, double, State& state, const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    const auto mu = [&](std::int64_t t) {
      return beta1 * (1 - 0.5 * std::pow(0.96, options_.psi * static_cast<double>(t)));
    };
    const double now = mu(context.step);
    const double next = mu(context.step + 1);
    const double product = advance_product(state, "mu_product", now);
    return {.beta1 = beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .bias2 = 1 - advance_product(state, "beta2_product", options_.beta2),
            .of_average = context.lr * next / (1 - product * next),
            .of_gradient = context.lr * (1 - now) / (1 - product)};
  }

  const Options options_;
};

}  // namespace

Entry nadamw() {
  return {{.name = "nadamw",
           .summary = "AdamW with Nesterov's look-ahead and a long average",
           .source = "Dozat 2016; Ajanthan et al. 2025 (AsyncPP)",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<NAdamW>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
