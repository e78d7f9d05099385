// Lion: u = lr sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g; sign(0) = 0.
// Decoupled weight decay. A momentum schedule moves beta1, which decides how much of the newest
// gradient is in the update; beta2 stays. Source: Chen et al. 2023, arXiv 2302.06675, with the
// betas that the authors advise for language models.

#include "optim/elementwise.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 2e-4, Range::above(0),
                "peak learning rate; 3 to 10 times smaller than AdamW's")
          .real("weight_decay", &Options::weight_decay, 0.5, Range::at_least(0),
                "decoupled weight decay of matrices and embeddings; larger than AdamW's by as much "
                "as lr is smaller")
          .real("beta1", &Options::beta1, 0.95, Range::below(0, 1),
                "weight of the average in the update")
          .real("beta2", &Options::beta2, 0.98, Range::below(0, 1), "average of the gradient");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m"};
  static constexpr auto product_names = no_products;
  double beta1, beta2, lr;

  template <class T>
  T operator()(const T& g, T& m) const {
    using kernels::number;
    const T u = kernels::sign(T(m * number<T>(beta1) + g * number<T>(1 - beta1))) * number<T>(lr);
    m = m * number<T>(beta2) + g * number<T>(1 - beta2);
    return u;
  }
};

class Lion final : public ElementwiseOptimizer<Rule> {
 public:
  explicit Lion(const Options& options) : options_(options) {}

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  Rule rule(const at::Tensor&, double, State&, const UpdateContext& context) const override {
    return {.beta1 = context.momentum.value_or(options_.beta1),
            .beta2 = options_.beta2,
            .lr = context.lr};
  }

  const Options options_;
};

}  // namespace

Entry lion() {
  return {{.name = "lion",
           .summary = "the sign of an average that the newest gradient weighs more in",
           .source = "Chen et al. 2023, arXiv 2302.06675",
           .options = option_table().specs(),
           .has_own_lr_scale = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Lion>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
