// PipeMare's learning-rate rescheduling (its T1): lr / max(delay, 1)^p, p = 1 - min(k / K, 1),
// where k counts updates from 0: full caution at first, none from update K on. K is a part of the
// run here, a number of updates in the source. Delay 1 divides by 1, so under 2bw it changes
// nothing; it matters where stages update alone. The source's T3, to begin with updates without
// delay, is pipeline.sync_steps; its T2, for backwards at other weights than their forwards, is not
// built. Source: Yang et al. 2021, arXiv 1910.05124.

#include <algorithm>
#include <cmath>

#include "delay/registry.h"

namespace penstock::delay {
namespace {

struct Options {
  double anneal = 0;
};

const config::OptionTable<Options>& option_table() {
  static const auto table = config::OptionTable<Options>().real(
      "anneal", &Options::anneal, 0.5, config::Range::above_up_to(0, 1),
      "the part of the run over which the division fades out");
  return table;
}

class PipeMare final : public Correction {
 public:
  explicit PipeMare(const Options& options) : options_(options) {}

  double lr_factor(const DelayContext& context) const override {
    const double power = 1 - std::min(context.progress / options_.anneal, 1.0);
    return std::pow(static_cast<double>(std::max<std::int64_t>(context.delay, 1)), -power);
  }

 private:
  const Options options_;
};

}  // namespace

Entry pipemare() {
  return {
      {.name = "pipemare",
       .summary = "divides early learning rates by the delay: no effect under 2bw, where it is 1",
       .source = "Yang et al. 2021, arXiv 1910.05124",
       .options = option_table().specs()},
      [](const config::ComponentConfig& component) -> CorrectionPtr {
        return std::make_unique<PipeMare>(option_table().read(component.options));
      }};
}

}  // namespace penstock::delay
