// Signum: m <- beta m + (1 - beta) g; u = lr sign(m), where sign(0) = 0. Decoupled weight decay, as
// in the source: Bernstein et al. 2018, arXiv 1802.04434.

#include "optim/elementwise.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double beta = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 2e-4, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.5, Range::at_least(0),
                "decoupled weight decay of matrices and embeddings; larger than AdamW's by as much "
                "as lr is smaller")
          .real("beta", &Options::beta, 0.9, Range::below(0, 1), "average of the gradient");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"m"};
  static constexpr auto product_names = no_products;
  double beta, lr;

  template <class T>
  T operator()(const T& g, T& m) const {
    using kernels::number;
    m = m * number<T>(beta) + g * number<T>(1 - beta);
    return kernels::sign(m) * number<T>(lr);
  }
};

class Signum final : public ElementwiseOptimizer<Rule> {
 public:
  explicit Signum(const Options& options) : options_(options) {}

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta; }

 private:
  Rule rule(const at::Tensor&, double, State&, const UpdateContext& context) const override {
    return {.beta = context.momentum.value_or(options_.beta), .lr = context.lr};
  }

  const Options options_;
};

}  // namespace

Entry signum() {
  return {{.name = "signum",
           .summary = "the sign of the averaged gradient",
           .source = "Bernstein et al. 2018, arXiv 1802.04434",
           .options = option_table().specs(),
           .has_own_lr_scale = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Signum>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
