// AdamW: m, v <- exponential averages of g, g^2; u = lr (m / bc1) / (sqrt(v / bc2) + eps) with
// bc_i = 1 - beta_i^step. Source: Loshchilov and Hutter 2019, arXiv 1711.05101.

#include <cmath>

#include "optim/registry.h"

namespace penstock::optim {
namespace {

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
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
          .real("eps", &Options::eps, 1e-8, Range::above(0), "added to the square root");
  return table;
}

class AdamW final : public Optimizer {
 public:
  explicit AdamW(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    return {{"m", at::zeros_like(weight)}, {"v", at::zeros_like(weight)}};
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    const auto step = static_cast<double>(context.step);
    const double correction1 = 1 - std::pow(options_.beta1, step);
    const double correction2 = 1 - std::pow(options_.beta2, step);
    at::Tensor& m = state.at("m").lerp_(gradient, 1 - options_.beta1);
    at::Tensor& v = state.at("v").mul_(options_.beta2);
    v.addcmul_(gradient, gradient, 1 - options_.beta2);
    const at::Tensor denominator = v.sqrt().div_(std::sqrt(correction2)).add_(options_.eps);
    return m.div(denominator).mul_(context.lr / correction1);
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }

 private:
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
