// Error feedback: step_t = u_t + lambda (u_t - u_{t-1}). What step t should have used is known one
// update later and repaid then. Source: Zmushko et al. 2026, arXiv 2606.30634, with lambda = 1.
//
// Kept is what the weights are ahead of the plain iteration, a_t = lambda u_t, which is what they
// are evaluated, saved and exported with: step_t = u_t + a_t - a_{t-1}. Where a gradient was not
// late a_t = 0, so that no update is lost for good where the delay or lambda changes: the first
// late step is (1 + lambda) u. The first update of a run is not late in any schedule. u_{t-1} holds
// the learning rate of its own update. Decoupled decay is outside u and not repaid, coupled decay
// is inside.
//
// For an average of gradients with momentum b, one update late, the largest stable learning rate is
// reached with lambda = 2 b / (2 - b)^2 (docs/results/corrections.md).

#include "base/error.h"
#include "delay/elementwise.h"
#include "delay/registry.h"

namespace penstock::delay {
namespace {

enum class Schedule { fixed, linear };

struct Options {
  double lambda = 0;
  Schedule schedule = Schedule::fixed;
  double final_lambda = 0;
  config::Precision state = config::Precision::fp32;
};

const config::OptionTable<Options>& option_table() {
  using config::Precision;
  using config::Range;
  static const auto table =
      config::OptionTable<Options>()
          .real("lambda", &Options::lambda, 1.0, Range::between(0, 100),
                "weight of the repaid error; 1 is one-step weight prediction")
          .choice("schedule", &Options::schedule, Schedule::fixed,
                  {{"fixed", Schedule::fixed}, {"linear", Schedule::linear}},
                  "whether lambda stays, or goes evenly to final_lambda over the run")
          .real("final_lambda", &Options::final_lambda, 0.0, Range::between(0, 100),
                "lambda at the end of the run, for schedule = \"linear\"")
          .choice("state", &Options::state, Precision::fp32,
                  {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}},
                  "precision of what is remembered");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"ahead"};
  double lambda;

  template <class T>
  T operator()(const T& u, T& ahead) const {
    const T next = u * kernels::number<T>(lambda);
    const T step = u + (next - ahead);
    ahead = next;
    return step;
  }
};

class ErrorFeedback final : public StepCorrection<Rule> {
 public:
  explicit ErrorFeedback(const Options& options) : options_(options) {
    if (options.schedule == Schedule::fixed && options.final_lambda != 0) {
      throw user_error("config",
                       "error_feedback: final_lambda = {} has no part in schedule = \"fixed\"; set "
                       "schedule = \"linear\"",
                       options.final_lambda);
    }
  }

  optim::State init(const at::Tensor& weight) const override {
    const bool bf16 = options_.state == config::Precision::bf16;
    const at::Tensor none = bf16 ? at::zeros_like(weight, at::kBFloat16) : at::zeros_like(weight);
    return {{{"ahead", none}}, {}};
  }

 private:
  Rule rule(const DelayContext& context) const override {
    if (context.delay == 0) return {.lambda = 0};
    if (options_.schedule == Schedule::fixed) return {.lambda = options_.lambda};
    const double way = options_.final_lambda - options_.lambda;
    return {.lambda = options_.lambda + way * context.progress};
  }

  const Options options_;
};

}  // namespace

Entry error_feedback() {
  return {{.name = "error_feedback",
           .summary = "repays the error of the stale update one update later",
           .source = "Zmushko et al. 2026, arXiv 2606.30634",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> CorrectionPtr {
            return std::make_unique<ErrorFeedback>(option_table().read(component.options));
          }};
}

}  // namespace penstock::delay
