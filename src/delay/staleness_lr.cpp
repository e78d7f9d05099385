// Staleness-aware learning rate: lr / max(delay, 1). Updates that are one late keep their rate, so
// under 2bw, where none is later, it changes nothing; it matters where stages update alone.
// Decoupled decay shrinks along. Source: Zhang et al. 2016, arXiv 1511.05950.

#include <algorithm>

#include "delay/registry.h"

namespace penstock::delay {
namespace {

class StalenessLr final : public Correction {
 public:
  double lr_factor(const DelayContext& context) const override {
    return 1 / static_cast<double>(std::max<std::int64_t>(context.delay, 1));
  }
};

}  // namespace

Entry staleness_lr() {
  return {{.name = "staleness_lr",
           .summary = "divides the learning rate by the delay: no effect under 2bw, where it is 1",
           .source = "Zhang et al. 2016, arXiv 1511.05950",
           .options = {}},
          [](const config::ComponentConfig&) -> CorrectionPtr {
            return std::make_unique<StalenessLr>();
          }};
}

}  // namespace penstock::delay
