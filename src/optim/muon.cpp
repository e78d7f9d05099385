// Muon: buf <- mu buf + (1 - mu) g; U = buf + lead (buf - buf_before); u = lr scale NS(U).
// Nesterov's U = (1 - mu) g + mu buf is a lead of mu; the option `lead` comes on top of it. Source:
// Jordan et al. 2024 ("Muon"); scale match_rms_adamw from Liu et al. 2025, arXiv 2502.16982.
//
// Every parameter is orthogonalised as a whole. Query, key and value are parameters of their own
// here, and so are gate and up, so there are no fused projections to be split; heads are not split.

#include "optim/orthogonalization.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

struct Options : OrthogonalizationOptions {
  double lr = 0;
  double weight_decay = 0;
  double momentum = 0;
  bool nesterov = true;
  double lead = 0;
  Scale scale = Scale::match_rms_adamw;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table = [] {
    config::OptionTable<Options> options;
    options.real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
        .real("weight_decay", &Options::weight_decay, 0.1, Range::at_least(0),
              "decoupled weight decay")
        .real("momentum", &Options::momentum, 0.95, Range::below(0, 1), "average of the gradient")
        .flag("nesterov", &Options::nesterov, true, "look ahead along the momentum")
        .real("lead", &Options::lead, 0.0, Range::between(0, 100),
              "how many updates further the momentum is extrapolated");
    add_scale(options, Scale::match_rms_adamw);
    add_orthogonalization(options);
    return options;
  }();
  return table;
}

class Muon final : public Optimizer {
 public:
  explicit Muon(const Options& options) : options_(options) {}

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
    std::vector<at::Tensor> directions;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      directions.push_back(direction(gradients[i], *states[i], context));
    }
    std::vector<at::Tensor> updates = orthogonalize(directions, options_);
    for (at::Tensor& u : updates) u.mul_(context.lr * scale_factor(options_.scale, u));
    return updates;
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.momentum; }

 private:
  at::Tensor direction(const at::Tensor& gradient, State& state,
                       const UpdateContext& context) const {
    const double mu = context.momentum.value_or(options_.momentum);
    return advance(state.tensors.at("momentum"), gradient, mu,
                   (options_.nesterov ? mu : 0) + options_.lead);
  }

  const Options options_;
};

}  // namespace

Entry muon() {
  return {{.name = "muon",
           .summary = "momentum orthogonalised by Newton-Schulz steps",
           .source = "Jordan et al. 2024",
           .options = option_table().specs(),
           .takes_matrices_only = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Muon>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
