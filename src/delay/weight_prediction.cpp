// Weight prediction: forwards and backwards see y = W - s u_last, where the weights are going to be
// s updates later if the last update repeats itself; s = horizon * delay. The slots hold y itself,
// so with a = s u_last the iteration W <- keep W - u reads in terms of y
//   y(t+1) = keep y(t) - (u_t + a_t - keep a_{t-1}),  a_t = s u_t.
// Evaluation, checkpoints and exports see y too: W = y + a, a in the checkpoint.
//
// With delay 0 there is nothing to predict: a = 0 and y is W again, with no update lost. So the
// first update of a run, and all without delay, are the plain ones. With s = 1, delay 1 throughout
// and no decoupled decay this is error feedback with lambda = 1; decay shrinks a here and leaves
// u_{t-1} alone there. Sources: Chen et al. 2018 (SpecTrain), arXiv 1809.02839; Guan et al. 2023
// (PipeOptim), arXiv 2312.00839, for any optimizer.

#include "delay/elementwise.h"
#include "delay/registry.h"

namespace penstock::delay {
namespace {

struct Options {
  double horizon = 0;
};

const config::OptionTable<Options>& option_table() {
  static const auto table = config::OptionTable<Options>().real(
      "horizon", &Options::horizon, 1.0, config::Range::between(0, 100),
      "how far ahead, in delays; 1: to the update that will use the gradient");
  return table;
}

struct Rule {
  static constexpr std::array state_names = {"ahead"};
  double updates_ahead, keep;

  template <class T>
  T operator()(const T& u, T& ahead) const {
    using kernels::number;
    const T next = u * number<T>(updates_ahead);
    const T step = u + next - ahead * number<T>(keep);
    ahead = next;
    return step;
  }
};

class WeightPrediction final : public StepCorrection<Rule> {
 public:
  explicit WeightPrediction(const Options& options) : options_(options) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{{"ahead", at::zeros_like(weight)}}, {}};
  }

 private:
  Rule rule(const DelayContext& context) const override {
    return {.updates_ahead = options_.horizon * static_cast<double>(context.delay),
            .keep = context.keep};
  }

  const Options options_;
};

}  // namespace

Entry weight_prediction() {
  return {{.name = "weight_prediction",
           .summary = "takes gradients where the last update, repeated, would lead",
           .source = "Chen et al. 2018 (SpecTrain), arXiv 1809.02839; Guan et al. 2023 "
                     "(PipeOptim), arXiv 2312.00839",
           .options = option_table().specs()},
          [](const config::ComponentConfig& component) -> CorrectionPtr {
            return std::make_unique<WeightPrediction>(option_table().read(component.options));
          }};
}

}  // namespace penstock::delay
