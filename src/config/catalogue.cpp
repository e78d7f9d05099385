#include "config/catalogue.h"

namespace penstock::config {
namespace {

template <class Item>
const Item* find_by_name(const std::vector<Item>& items, std::string_view name) {
  for (const Item& item : items) {
    if (item.name == name) return &item;
  }
  return nullptr;
}

}  // namespace

const ComponentSpec* find_component(const std::vector<ComponentSpec>& components,
                                    std::string_view name) {
  return find_by_name(components, name);
}

std::optional<ScheduleSpec> find_schedule(const Catalogue& catalogue, const std::string& name) {
  if (const ScheduleSpec* spec = find_by_name(catalogue.schedules, name)) return *spec;
  if (catalogue.read_grid && name.ends_with(grid_suffix)) return catalogue.read_grid(name);
  return std::nullopt;
}

}  // namespace penstock::config
