#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "schedule/schedule.h"

namespace penstock::schedule {

const std::vector<Schedule>& registry() {
  static const std::vector<Schedule> schedules{
      one_forward_one_backward(),
      double_buffered_weights(),
  };
  return schedules;
}

const Schedule& find(std::string_view name) {
  const auto& all = registry();
  const auto found = std::ranges::find(all, name, &Schedule::name);
  if (found != all.end()) return *found;
  std::vector<std::string_view> names;
  for (const auto& schedule : all) names.push_back(schedule.name);
  throw user_error("schedule", "no schedule is called '{}'; choose one of {}", name,
                   fmt::join(names, ", "));
}

}  // namespace penstock::schedule
