// DC-ASGD: g + lambda g g (W - W_seen), elementwise: a first-order step from the weights that the
// gradient was taken at to the newest, with g g for the diagonal of the Hessian.
//   fixed     lambda is a number
//   adaptive  lambda = lambda0 / sqrt(s + 1e-7), s <- decay s + (1 - decay) g g, which starts at 0
//             and is not corrected for that, as in the source
// g is the clipped gradient, without weight decay. With delay 0 it stays as it is, also where the
// forwards read the weights in bf16. Source: Zheng et al. 2017, arXiv 1609.08326.

#include "delay/elementwise.h"
#include "delay/registry.h"

namespace penstock::delay {
namespace {

enum class Variant { fixed, adaptive };

struct Options {
  Variant variant = Variant::fixed;
  double lambda = 0;
  double lambda0 = 0;
  double decay = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .choice("variant", &Options::variant, Variant::fixed,
                  {{"fixed", Variant::fixed}, {"adaptive", Variant::adaptive}},
                  "whether the strength is the same everywhere, or follows the gradient's size")
          .real("lambda", &Options::lambda, 0.04, Range::at_least(0),
                "strength, for variant = \"fixed\"")
          .real("lambda0", &Options::lambda0, 2.0, Range::at_least(0),
                "strength, for variant = \"adaptive\"")
          .real("decay", &Options::decay, 0.95, Range::below(0, 1),
                "average of the squared gradient, for variant = \"adaptive\"");
  return table;
}

constexpr double adaptive_eps = 1e-7;

struct FixedRule {
  static constexpr std::array<const char*, 0> state_names{};
  double lambda;

  template <class T>
  T operator()(const T& g, const T& newest, const T& seen) const {
    return g + g * g * (newest - seen) * kernels::number<T>(lambda);
  }
};

class Fixed final : public GradientCorrection<FixedRule> {
 public:
  explicit Fixed(const Options& options) : options_(options) {}

 private:
  FixedRule rule(const DelayContext& context) const override {
    return {.lambda = context.delay > 0 ? options_.lambda : 0};
  }

  const Options options_;
};

struct AdaptiveRule {
  static constexpr std::array state_names = {"squared_gradient"};
  double lambda0, decay;

  template <class T>
  T operator()(const T& g, const T& newest, const T& seen, T& square) const {
    using kernels::number;
    square = square * number<T>(decay) + g * g * number<T>(1 - decay);
    const T root = kernels::root(T(square + number<T>(adaptive_eps)));
    return g + g * g * (newest - seen) * number<T>(lambda0) / root;
  }
};

class Adaptive final : public GradientCorrection<AdaptiveRule> {
 public:
  explicit Adaptive(const Options& options) : options_(options) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{{"squared_gradient", at::zeros_like(weight)}}, {}};
  }

 private:
  AdaptiveRule rule(const DelayContext& context) const override {
    return {.lambda0 = context.delay > 0 ? options_.lambda0 : 0, .decay = options_.decay};
  }

  const Options options_;
};

CorrectionPtr from(const Options& options) {
  if (options.variant == Variant::fixed) return std::make_unique<Fixed>(options);
  return std::make_unique<Adaptive>(options);
}

}  // namespace

Entry dc_asgd() {
  return {{.name = "dc_asgd",
           .summary = "moves the gradient to the newest weights by a diagonal Hessian",
           .source = "Zheng et al. 2017, arXiv 1609.08326",
           .options = option_table().specs(),
           .needs_seen_weights = true},
          [](const config::ComponentConfig& component) {
            return from(option_table().read(component.options));
          }};
}

}  // namespace penstock::delay
