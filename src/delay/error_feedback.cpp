// Error feedback: step_t = u_t + lambda (u_t - u_{t-1}), u_{-1} = 0. What step t should have used
// is known one update later and repaid then. Source: Zmushko et al. 2026, arXiv 2606.30634.

#include "delay/registry.h"

namespace penstock::delay {
namespace {

struct Options {
  double lambda = 0;
};

const config::OptionTable<Options>& option_table() {
  static const auto table = config::OptionTable<Options>().real(
      "lambda", &Options::lambda, 1.0, config::Range::at_least(0),
      "weight of the repaid error; 1 is one-step weight prediction");
  return table;
}

class ErrorFeedback final : public Correction {
 public:
  explicit ErrorFeedback(const Options& options) : options_(options) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{"previous_update", at::zeros_like(weight)}};
  }

  at::Tensor step(at::Tensor u, optim::State& state) const override {
    at::Tensor& previous = state.at("previous_update");
    const at::Tensor error = u - previous;
    at::Tensor step = u.add(error, options_.lambda);
    previous.copy_(u);
    return step;
  }

 private:
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
