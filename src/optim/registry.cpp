#include "optim/registry.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "optim/extensions.h"

namespace penstock::optim {

std::vector<Entry> registry() {
  std::vector<Entry> entries;
  entries.push_back(adamw());
  entries.push_back(sgd());
  entries.push_back(signum());
  entries.push_back(nadamw());
  entries.push_back(lion());
  entries.push_back(adan());
  entries.push_back(mars());
  entries.push_back(muon());
  entries.push_back(normuon());
  entries.push_back(soap());
  entries.push_back(scion());
  entries.push_back(basis_rotation());
  for (auto& entry : extensions()) entries.push_back(std::move(entry));
  return entries;
}

OptimizerPtr make(const config::ComponentConfig& component) {
  for (const auto& entry : registry()) {
    if (entry.spec.name == component.name) return entry.make(component);
  }
  throw std::logic_error(fmt::format("no optimizer is called '{}'", component.name));
}

}  // namespace penstock::optim
