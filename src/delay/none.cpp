// No correction: the step is the update.

#include "delay/registry.h"

namespace penstock::delay {

Entry none() {
  return {{.name = "none", .summary = "the plain delayed iteration", .source = {}, .options = {}},
          [](const config::ComponentConfig&) -> CorrectionPtr {
            return std::make_unique<Correction>();
          }};
}

}  // namespace penstock::delay
