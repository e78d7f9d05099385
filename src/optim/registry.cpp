#include "optim/registry.h"

#include <fmt/format.h>

#include <stdexcept>

namespace penstock::optim {

std::vector<Entry> registry() {
  std::vector<Entry> entries;
  entries.push_back(adamw());
  entries.push_back(muon());
  return entries;
}

OptimizerPtr make(const config::ComponentConfig& component) {
  for (const auto& entry : registry()) {
    if (entry.spec.name == component.name) return entry.make(component);
  }
  throw std::logic_error(fmt::format("no optimizer is called '{}'", component.name));
}

}  // namespace penstock::optim
