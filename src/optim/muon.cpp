// Muon: buf <- mu buf + (1 - mu) g; U = (1 - mu) g + mu buf (Nesterov) or buf;
// u = lr scale NS5(U). Source: Jordan et al. 2024 ("Muon"); scale match_rms_adamw from Liu et al.
// 2025, arXiv 2502.16982.

#include <algorithm>
#include <cmath>

#include "kernels/newton_schulz.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

enum class Scale { original, match_rms_adamw, spectral };

struct Options {
  double lr = 0;
  double weight_decay = 0;
  double momentum = 0;
  bool nesterov = true;
  Scale scale = Scale::match_rms_adamw;
  config::Precision newton_schulz = config::Precision::fp32;
};

const config::OptionTable<Options>& option_table() {
  using config::Precision;
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 1e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.1, Range::at_least(0),
                "decoupled weight decay")
          .real("momentum", &Options::momentum, 0.95, Range::below(0, 1), "average of the gradient")
          .flag("nesterov", &Options::nesterov, true, "look ahead along the momentum")
          .choice("scale", &Options::scale, Scale::match_rms_adamw,
                  {{"original", Scale::original},
                   {"match_rms_adamw", Scale::match_rms_adamw},
                   {"spectral", Scale::spectral}},
                  "size of the update for an r x c matrix: sqrt(max(1, r/c)), "
                  "0.2 sqrt(max(r, c)), sqrt(r/c)")
          .choice("newton_schulz", &Options::newton_schulz, Precision::fp32,
                  {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}},
                  "precision of the orthogonalisation");
  return table;
}

double scale_factor(Scale scale, double rows, double columns) {
  switch (scale) {
    case Scale::original:
      return std::sqrt(std::max(1.0, rows / columns));
    case Scale::match_rms_adamw:
      return 0.2 * std::sqrt(std::max(rows, columns));
    case Scale::spectral:
      return std::sqrt(rows / columns);
  }
  return 1;
}

class Muon final : public Optimizer {
 public:
  explicit Muon(const Options& options) : options_(options) {}

  State init(const at::Tensor& weight) const override {
    return {{"momentum", at::zeros_like(weight)}};
  }

  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    at::Tensor& momentum = state.at("momentum").lerp_(gradient, 1 - options_.momentum);
    const at::Tensor direction =
        options_.nesterov ? gradient.lerp(momentum, options_.momentum) : momentum;
    const bool bf16 = options_.newton_schulz == config::Precision::bf16;
    const double factor = scale_factor(options_.scale, static_cast<double>(gradient.size(0)),
                                       static_cast<double>(gradient.size(1)));
    return kernels::newton_schulz(direction, bf16 ? at::kBFloat16 : at::kFloat)
        .mul(context.lr * factor);
  }

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }

 private:
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
