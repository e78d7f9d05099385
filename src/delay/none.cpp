// No correction: the step is the update.

#include "delay/registry.h"

namespace penstock::delay {
namespace {

class None final : public Correction {
 public:
  optim::State init(const at::Tensor&) const override { return {}; }
  at::Tensor step(at::Tensor u, optim::State&) const override { return u; }
};

}  // namespace

Entry none() {
  return {{.name = "none", .summary = "the plain delayed iteration", .source = {}, .options = {}},
          [](const config::ComponentConfig&) -> CorrectionPtr { return std::make_unique<None>(); }};
}

}  // namespace penstock::delay
