// NorMuon: Muon whose rows are brought to one size. With Muon's orthogonalised direction O:
// s <- b2 s + (1 - b2) mean over columns of O^2, one value per row; P = O / (sqrt(s) + 1e-10);
// u = lr scale P |O| / (|P| + 1e-10). Source: Li et al. 2025, arXiv 2510.05491, and the authors'
// implementation. Parameters are taken as in optim/muon.cpp.

#include "optim/orthogonalization.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

constexpr double eps = 1e-10;

struct Options : OrthogonalizationOptions {
  double lr = 0;
  double weight_decay = 0;
  double momentum = 0;
  double beta2 = 0;
  bool nesterov = true;
  double lead = 0;
  Scale scale = Scale::original;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table = [] {
    config::OptionTable<Options> options;
    options.real("lr", &Options::lr, 0.02, Range::above(0), "peak learning rate")
        .real("weight_decay", &Options::weight_decay, 0, Range::at_least(0),
              "decoupled weight decay")
        .real("momentum", &Options::momentum, 0.95, Range::below(0, 1), "average of the gradient")
        .real("beta2", &Options::beta2, 0.95, Range::below(0, 1),
              "average of the rows' mean squares")
        .flag("nesterov", &Options::nesterov, true, "look ahead along the momentum")
        .real("lead", &Options::lead, 0.0, Range::between(0, 100),
              "how many updates further the momentum is extrapolated");
    add_scale(options, Scale::original);
    add_orthogonalization(options);
    return options;
  }();
  return table;
}

class NorMuon final : public Optimizer {
 public:
  explicit NorMuon(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    return {{{"momentum", at::zeros_like(weight)},
             {"row_squares", weight.new_zeros({weight.size(0), 1})}},
            {}};
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
    for (std::size_t i = 0; i < updates.size(); ++i) {
      normalize_rows(updates[i], states[i]->tensors.at("row_squares"));
      updates[i].mul_(context.lr * scale_factor(options_.scale, updates[i]));
    }
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

  /// Keeps the norm of `o`.
  void normalize_rows(at::Tensor& o, at::Tensor& row_squares) const {
    const at::Tensor norm = o.norm();
    row_squares.lerp_(o.square().mean(1, true), 1 - options_.beta2);
    o.div_(row_squares.sqrt().add_(eps));
    o.mul_(norm / (o.norm() + eps));
  }

  const Options options_;
};

}  // namespace

Entry normuon() {
  return {{.name = "normuon",
           .summary = "Muon with rows of one size",
           .source = "Li et al. 2025, arXiv 2510.05491",
           .options = option_table().specs(),
           .takes_matrices_only = true,
           .has_own_lr_scale = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<NorMuon>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
