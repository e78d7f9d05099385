// Scion: buf <- mu buf + (1 - mu) g; u = lr radius lmo(buf), the point of a norm's unit ball that
// lies farthest along the average: sqrt(r/c) NS(buf) for the spectral norm of an r x c weight,
// sign(buf) / c for the largest entry. Source: Pethick et al. 2025, arXiv 2502.07529, and the
// authors' implementation, where one minus our momentum is called momentum.
//
// The published, constrained form is W <- (1 - lr) W - u, which keeps weights in the ball of that
// radius: weight_decay 1, the default. Its unconstrained form is weight_decay 0.
// The authors take the spectral norm (radius 50) for the layers' matrices and signs (radius 3000)
// for the head and an embedding tied to it:
//   [[optimizer.group]]
//   match = "lm_head.weight"
//   name = "scion"
//   norm = "sign"
//   radius = 3000

#include "kernels/elementwise.h"
#include "optim/orthogonalization.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

enum class Norm { spectral, sign };

struct Options : OrthogonalizationOptions {
  double lr = 0;
  double weight_decay = 0;
  double momentum = 0;
  double radius = 0;
  Norm norm = Norm::spectral;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table = [] {
    config::OptionTable<Options> options;
    options.real("lr", &Options::lr, 0x1p-12, Range::above(0), "peak learning rate")
        .real("weight_decay", &Options::weight_decay, 1, Range::at_least(0),
              "1 keeps weights within the radius, 0 leaves them free")
        .real("momentum", &Options::momentum, 0.9, Range::below(0, 1), "average of the gradient")
        .real("radius", &Options::radius, 50, Range::above(0),
              "size of the ball; 3000 is usual for a head with norm = \"sign\"")
        .choice("norm", &Options::norm, Norm::spectral,
                {{"spectral", Norm::spectral}, {"sign", Norm::sign}},
                "the ball's norm; choose it by group: sign for the head, spectral elsewhere");
    add_orthogonalization(options);
    return options;
  }();
  return table;
}

class Scion final : public Optimizer {
 public:
  explicit Scion(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    return {{{"momentum", at::zeros_like(weight)}}, {}};
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    return update_batch({gradient}, {&state}, context).front();
  }

  bool gains_by_batches() const override { return true; }
  std::vector<at::Tensor> update_batch(const std::vector<at::Tensor>& gradients,
                                       const std::vector<State*>& states,
                                       const UpdateContext& context) const override {
    const double mu = context.momentum.value_or(options_.momentum);
    std::vector<at::Tensor> averages;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      averages.push_back(states[i]->tensors.at("momentum").lerp_(gradients[i], 1 - mu));
    }
    const double radius = context.lr * options_.radius;
    if (options_.norm == Norm::spectral) {
      std::vector<at::Tensor> updates = orthogonalize(averages, options_);
      for (at::Tensor& u : updates) u.mul_(radius * scale_factor(Scale::spectral, u));
      return updates;
    }
    for (at::Tensor& average : averages) {
      average = kernels::sign(average).mul_(radius / static_cast<double>(average.size(1)));
    }
    return averages;
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.momentum; }

 private:
  const Options options_;
};

}  // namespace

Entry scion() {
  return {{.name = "scion",
           .summary = "steps along a norm's ball: orthogonalised momentum, or signs for the head",
           .source = "Pethick et al. 2025, arXiv 2502.07529",
           .options = option_table().specs(),
           .takes_matrices_only = true,
           .has_own_lr_scale = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Scion>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
