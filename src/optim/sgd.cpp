// SGD with momentum: buf <- mu buf + (1 - dampening) g, where the first gradient of all enters
// undampened; u = lr buf, or lr (g + mu buf) (Nesterov). Heavy ball, so with a constant gradient u
// grows to lr g / (1 - mu). Weight decay is part of the gradient (coupled) or shrinks the weights
// (decoupled). Source: Sutskever et al. 2013, "On the importance of initialization and momentum in
// deep learning"; the details are torch.optim.SGD's.

#include "base/error.h"
#include "optim/elementwise.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

enum class Decay { coupled, decoupled };

struct Options {
  double lr = 0;
  double weight_decay = 0;
  Decay decay = Decay::coupled;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 0.1, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.0, Range::at_least(0),
                "weight decay of matrices and embeddings")
          .choice("decay", &Options::decay, Decay::coupled,
                  {{"coupled", Decay::coupled}, {"decoupled", Decay::decoupled}},
                  "whether it is added to the gradient or shrinks the weights")
          .real("momentum", &Options::momentum, 0.9, Range::below(0, 1),
                "what the buffer keeps of itself")
          .real("dampening", &Options::dampening, 0.0, Range::below(0, 1),
                "what the buffer leaves out of the gradient")
          .flag("nesterov", &Options::nesterov, false,
                "look ahead along the momentum; goes without dampening");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"momentum"};
  static constexpr auto product_names = no_products;
  double momentum, gain, lr;
  bool nesterov;

  template <class T>
  T operator()(const T& g, T& buffer) const {
    using kernels::number;
    buffer = buffer * number<T>(momentum) + g * number<T>(gain);
    if (nesterov) return (g + buffer * number<T>(momentum)) * number<T>(lr);
    return buffer * number<T>(lr);
  }
};

class Sgd final : public ElementwiseOptimizer<Rule> {
 public:
  explicit Sgd(const Options& options) : options_(options) {
    if (options.nesterov && options.dampening != 0) {
      throw user_error("config",
                       "sgd: nesterov goes without dampening, but dampening = {}; set dampening = "
                       "0 or nesterov = false",
                       options.dampening);
    }
  }

  double keep(const UpdateContext& context) const override {
    return couples_weight_decay() ? 1 : Optimizer::keep(context);
  }
  bool couples_weight_decay() const override { return options_.decay == Decay::coupled; }
  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.momentum; }

 private:
  Rule rule(const at::Tensor&, double, State&, const UpdateContext& context) const override {
    const double momentum = context.momentum.value_or(options_.momentum);
    const bool dampens = context.step > 1 && momentum > 0;
    return {.momentum = momentum,
            .gain = dampens ? 1 - options_.dampening : 1,
            .lr = context.lr,
            .nesterov = options_.nesterov};
  }

  const Options options_;
};

}  // namespace

Entry sgd() {
  return {{.name = "sgd",
           .summary = "gradient descent with momentum, plain or Nesterov's",
           .source = "Sutskever et al. 2013",
           .options = option_table().specs(),
           .has_own_lr_scale = true},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Sgd>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
