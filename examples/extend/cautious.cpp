// An optimizer and a correction of one's own, in one file outside the tree.
//
// cautious_lion: Lion that moves only where its sign and the gradient's agree,
//   c = beta1 m + (1 - beta1) g; u = lr sign(c) [c g > 0]; m <- beta2 m + (1 - beta2) g
//   after Liang et al. 2024, arXiv 2411.16085, without their rescaling.
// agreeing_feedback: error feedback that repays only where two updates agree in sign,
//   step = u + lambda (u - u_previous) [u u_previous > 0]

#include "delay/elementwise.h"
#include "delay/extensions.h"
#include "optim/elementwise.h"
#include "optim/extensions.h"

namespace {

using namespace penstock;
using config::Range;

/// 1 where a and b have the same sign, else 0.
template <class T>
T agreement(const T& a, const T& b) {
  const T product = kernels::sign(a) * kernels::sign(b);
  return (product * product + product) * kernels::number<T>(0.5);
}

struct LionOptions {
  double lr = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
};

const config::OptionTable<LionOptions>& lion_options() {
  static const auto table =
      config::OptionTable<LionOptions>()
          .real("lr", &LionOptions::lr, 1e-4, Range::above(0), "peak learning rate")
          .real("weight_decay", &LionOptions::weight_decay, 0.3, Range::at_least(0),
                "decoupled weight decay")
          .real("beta1", &LionOptions::beta1, 0.95, Range::below(0, 1), "weight of m in the sign")
          .real("beta2", &LionOptions::beta2, 0.98, Range::below(0, 1), "average of the gradient");
  return table;
}

struct LionRule {
  static constexpr std::array state_names = {"m"};
  static constexpr auto product_names = optim::no_products;
  double lr, beta1, beta2;

  template <class T>
  T operator()(const T& g, T& m) const {
    using kernels::number;
    const T direction = m * number<T>(beta1) + g * number<T>(1 - beta1);
    m = m * number<T>(beta2) + g * number<T>(1 - beta2);
    return kernels::sign(direction) * agreement(direction, g) * number<T>(lr);
  }
};

class CautiousLion final : public optim::ElementwiseOptimizer<LionRule> {
 public:
  explicit CautiousLion(const LionOptions& options) : options_(options) {}

  double peak_lr() const override { return options_.lr; }
  double weight_decay() const override { return options_.weight_decay; }
  double peak_momentum() const override { return options_.beta1; }

 private:
  LionRule rule(const at::Tensor&, double, optim::State&,
                const optim::UpdateContext& context) const override {
    return {.lr = context.lr,
            .beta1 = context.momentum.value_or(options_.beta1),
            .beta2 = options_.beta2};
  }

  const LionOptions options_;
};

struct FeedbackOptions {
  double lambda = 0;
};

const config::OptionTable<FeedbackOptions>& feedback_options() {
  static const auto table = config::OptionTable<FeedbackOptions>().real(
      "lambda", &FeedbackOptions::lambda, 1.0, Range::at_least(0), "weight of the repaid error");
  return table;
}

struct FeedbackRule {
  static constexpr std::array state_names = {"previous_update"};
  double lambda;

  template <class T>
  T operator()(const T& u, T& previous) const {
    const T repaid = (u - previous) * agreement(u, previous) * kernels::number<T>(lambda);
    previous = u;
    return u + repaid;
  }
};

class AgreeingFeedback final : public delay::StepCorrection<FeedbackRule> {
 public:
  explicit AgreeingFeedback(const FeedbackOptions& options) : options_(options) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{{"previous_update", at::zeros_like(weight)}}, {}};
  }

 private:
  FeedbackRule rule(const delay::DelayContext& context) const override {
    return {.lambda = context.delay > 0 ? options_.lambda : 0};
  }

  const FeedbackOptions options_;
};

}  // namespace

std::vector<optim::Entry> penstock::optim::extensions() {
  Entry lion{{.name = "cautious_lion",
              .summary = "Lion that moves only where the gradient agrees",
              .source = "after Liang et al. 2024, arXiv 2411.16085",
              .options = lion_options().specs()},
             [](const config::ComponentConfig& component) -> OptimizerPtr {
               return std::make_unique<CautiousLion>(lion_options().read(component.options));
             }};
  return {std::move(lion)};
}

std::vector<delay::Entry> penstock::delay::extensions() {
  Entry feedback{
      {.name = "agreeing_feedback",
       .summary = "error feedback where two updates agree in sign",
       .source = {},
       .options = feedback_options().specs()},
      [](const config::ComponentConfig& component) -> CorrectionPtr {
        return std::make_unique<AgreeingFeedback>(feedback_options().read(component.options));
      }};
  return {std::move(feedback)};
}
