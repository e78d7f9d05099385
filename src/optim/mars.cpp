// MARS: c = g + gamma beta1 / (1 - beta1) (g - g_prev), divided by its norm where that is above 1,
// takes the gradient's place in
//   adamw: m, v <- exponential averages of c, c^2; u = lr (m / bc1) / (sqrt(v / bc2) + eps)
//   lion:  m <- exponential average of c; u = lr sign(m): one beta, unlike Lion itself
// with decoupled weight decay. Matrices only: a vector gets AdamW with betas of its own. g_prev is
// a copy of the last update's gradient (the authors' code keeps a reference, which a later step may
// overwrite) and 0 before the first one, as in that code. It compares consecutive gradients, not
// two gradients of one batch: the approximate form; under delay both are old by the same number of
// updates. Source: Yuan et al. 2024, arXiv 2411.10438.

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>
#include <vector>

#include "base/sum_of_squares.h"
#include "optim/elementwise.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

enum class Base { adamw, lion };

struct Options {
  double lr = 0;
  double weight_decay = 0;
  Base base = Base::adamw;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  double gamma = 0;
  double vector_beta1 = 0;
  double vector_beta2 = 0;
};

const config::OptionTable<Options>& option_table() {
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lr", &Options::lr, 3e-3, Range::above(0), "peak learning rate")
          .real("weight_decay", &Options::weight_decay, 0.01, Range::at_least(0),
                "decoupled weight decay of matrices and embeddings")
          .choice("base", &Options::base, Base::adamw,
                  {{"adamw", Base::adamw}, {"lion", Base::lion}},
                  "what the corrected gradient is given to")
          .real("beta1", &Options::beta1, 0.95, Range::below(0, 1), "average of the gradient")
          .real("beta2", &Options::beta2, 0.99, Range::below(0, 1),
                "average of its square, for base = \"adamw\"")
          .real("eps", &Options::eps, 1e-8, Range::above(0),
                "added to the square root, for base = \"adamw\" and vectors")
          .real("gamma", &Options::gamma, 0.025, Range::at_least(0),
                "weight of the gradient's change; 0: none")
          .real("vector_beta1", &Options::vector_beta1, 0.9, Range::below(0, 1),
                "beta1 of AdamW, which vectors get")
          .real("vector_beta2", &Options::vector_beta2, 0.95, Range::below(0, 1), "and its beta2");
  return table;
}

/// The corrected gradient, all in one text. Its limit is found before the sweep.
struct Corrected {
  double change, limit;

  template <class T>
  T operator()(const T& g, const T& previous) const {
    using kernels::number;
    return (g + (g - previous) * number<T>(change)) * number<T>(limit);
  }
};

constexpr std::int64_t block_size = 1024;

PENSTOCK_VECTORIZE
void correct_block(const Corrected& corrected, const float* g, float scale, const float* previous,
                   float* out, std::int64_t n) {
  const Corrected own = corrected;
  for (std::int64_t i = 0; i < n; ++i) out[i] = own(g[i] * scale, previous[i]);
}

/// In blocks, whose squares are added in their order: the same bits for any number of threads.
double norm_in_main_memory(const Corrected& corrected, const float* g, double scale,
                           const float* previous, std::int64_t count) {
  std::vector<double> squares(static_cast<std::size_t>((count + block_size - 1) / block_size));
  at::parallel_for(0, std::ssize(squares), 16, [&](std::int64_t first, std::int64_t last) {
    std::array<float, block_size> block;
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t begin = b * block_size;
      const std::int64_t n = std::min(block_size, count - begin);
      correct_block(corrected, g + begin, static_cast<float>(scale), previous + begin, block.data(),
                    n);
      squares[static_cast<std::size_t>(b)] =
          sum_of_squares(std::span(block.data(), static_cast<std::size_t>(n)));
    }
  });
  double sum = 0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

double norm(const Corrected& corrected, const at::Tensor& gradient, double scale,
            const at::Tensor& previous) {
  const bool in_main_memory = gradient.is_cpu() && previous.scalar_type() == at::kFloat;
  if (!in_main_memory) {
    const at::Tensor g = gradient * scale;
    return corrected(g, previous).norm().item<double>();
  }
  const at::Tensor g = gradient.to(at::kFloat).contiguous();
  const at::Tensor p = previous.contiguous();
  return norm_in_main_memory(corrected, g.const_data_ptr<float>(), scale, p.const_data_ptr<float>(),
                             g.numel());
}

Corrected corrected_gradient(const Options& options, double beta1, const at::Tensor& gradient,
                             double scale, const State& state) {
  Corrected corrected{.change = options.gamma * beta1 / (1 - beta1), .limit = 1};
  const double size = norm(corrected, gradient, scale, state.tensors.at("previous_gradient"));
  if (size > 1) corrected.limit = 1 / size;
  return corrected;
}

struct AdamWRule {
  static constexpr std::array state_names = {"m", "v", "previous_gradient"};
  static constexpr std::array product_names = {"beta1_product", "beta2_product"};
  Corrected corrected;
  double beta1, beta2, eps, lr, bias1, bias2;

  template <class T>
  T operator()(const T& g, T& m, T& v, T& previous) const {
    using kernels::number;
    const T c = corrected(g, previous);
    previous = g;
    m = m * number<T>(beta1) + c * number<T>(1 - beta1);
    v = v * number<T>(beta2) + c * c * number<T>(1 - beta2);
    const T root = kernels::root(v) * number<T>(1 / std::sqrt(bias2)) + number<T>(eps);
    return m * number<T>(lr / bias1) / root;
  }
};

struct LionRule {
  static constexpr std::array state_names = {"m", "previous_gradient"};
  static constexpr auto product_names = no_products;
  Corrected corrected;
  double beta1, lr;

  template <class T>
  T operator()(const T& g, T& m, T& previous) const {
    using kernels::number;
    m = m * number<T>(beta1) + corrected(g, previous) * number<T>(1 - beta1);
    previous = g;
    return kernels::sign(m) * number<T>(lr);
  }
};

template <class Rule>
class OfMatrices : public ElementwiseOptimizer<Rule> {
 public:
  explicit OfMatrices(const Options& options) : options_(options) {}
  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }

 protected:
  const Options options_;
};

class AdamWForm final : public OfMatrices<AdamWRule> {
 public:
  using OfMatrices::OfMatrices;

 private:
  AdamWRule rule(const at::Tensor& gradient, double scale, State& state,
                 const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    return {.corrected = corrected_gradient(options_, beta1, gradient, scale, state),
            .beta1 = beta1,
            .beta2 = options_.beta2,
            .eps = options_.eps,
            .lr = context.lr,
            .bias1 = 1 - advance_product(state, "beta1_product", beta1),
            .bias2 = 1 - advance_product(state, "beta2_product", options_.beta2)};
  }
};

class LionForm final : public OfMatrices<LionRule> {
 public:
  using OfMatrices::OfMatrices;

 private:
  LionRule rule(const at::Tensor& gradient, double scale, State& state,
                const UpdateContext& context) const override {
    const double beta1 = context.momentum.value_or(options_.beta1);
    return {.corrected = corrected_gradient(options_, beta1, gradient, scale, state),
            .beta1 = beta1,
            .lr = context.lr};
  }
};

/// Gives matrices to one optimizer and vectors to another.
class Mars final : public Optimizer {
 public:
  explicit Mars(const Options& options)
      : options_(options),
        vectors_(adamw().make({"adamw",
                               {{"beta1", options.vector_beta1},
                                {"beta2", options.vector_beta2},
                                {"eps", options.eps}}})) {
    if (options.base == Base::adamw) {
      matrices_ = std::make_unique<AdamWForm>(options);
    } else {
      matrices_ = std::make_unique<LionForm>(options);
    }
  }

  State init(const at::Tensor& weight) const override { return rule_for(weight).init(weight); }
  at::Tensor update(const at::Tensor& gradient, State& state,
                    const UpdateContext& context) const override {
    return rule_for(gradient).update(gradient, state, context_for(gradient, context));
  }
  std::optional<kernels::Sweep> sweep(const at::Tensor& gradient, double scale, State& state,
                                      const UpdateContext& context) const override {
    return rule_for(gradient).sweep(gradient, scale, state, context_for(gradient, context));
  }
  bool looks_at_whole_gradient() const override { return true; }
  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  static bool is_matrix(const at::Tensor& tensor) { return tensor.dim() >= 2; }
  const Optimizer& rule_for(const at::Tensor& tensor) const {
    return is_matrix(tensor) ? *matrices_ : *vectors_;
  }
  /// A momentum schedule goes up to beta1; vectors stop at their own.
  UpdateContext context_for(const at::Tensor& tensor, UpdateContext context) const {
    if (context.momentum && !is_matrix(tensor)) {
      context.momentum = std::min(*context.momentum, options_.vector_beta1);
    }
    return context;
  }

  const Options options_;
  OptimizerPtr matrices_;
  OptimizerPtr vectors_;
};

}  // namespace

Entry mars() {
  return {{.name = "mars",
           .summary = "AdamW or a sign on gradients whose variance is reduced",
           .source = "Yuan et al. 2024, arXiv 2411.10438",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> OptimizerPtr {
            return std::make_unique<Mars>(option_table().read(component.options));
          }};
}

}  // namespace penstock::optim
