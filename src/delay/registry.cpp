#include "delay/registry.h"

#include <fmt/format.h>

#include <stdexcept>

namespace penstock::delay {

std::vector<Entry> registry() {
  std::vector<Entry> entries;
  entries.push_back(none());
  entries.push_back(error_feedback());
  return entries;
}

CorrectionPtr make(const config::ComponentConfig& component) {
  for (const auto& entry : registry()) {
    if (entry.spec.name == component.name) return entry.make(component);
  }
  throw std::logic_error(fmt::format("no correction is called '{}'", component.name));
}

}  // namespace penstock::delay
