#include "delay/registry.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "delay/extensions.h"

namespace penstock::delay {

std::vector<Entry> registry() {
  std::vector<Entry> entries;
  entries.push_back(none());
  entries.push_back(error_feedback());
  entries.push_back(weight_prediction());
  entries.push_back(dc_asgd());
  entries.push_back(staleness_lr());
  entries.push_back(pipemare());
  for (auto& entry : extensions()) entries.push_back(std::move(entry));
  return entries;
}

CorrectionPtr make(const config::ComponentConfig& component) {
  for (const auto& entry : registry()) {
    if (entry.spec.name == component.name) return entry.make(component);
  }
  throw std::logic_error(fmt::format("no correction is called '{}'", component.name));
}

}  // namespace penstock::delay
