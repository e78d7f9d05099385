#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/suggest.h"
#include "schedule/schedule.h"

namespace penstock::schedule {

const std::vector<Schedule>& registry() {
  static const std::vector<Schedule> schedules{
      one_forward_one_backward(), double_buffered_weights(), gpipe(),     interleaved(),
      zero_bubble_h1(),           zero_bubble_v(),           pipedream(), one_weight_copy(),
  };
  return schedules;
}

const Schedule& find(std::string_view name) {
  const auto& all = registry();
  const auto found = std::ranges::find(all, name, &Schedule::name);
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  for (const auto& schedule : all) names.push_back(schedule.name);
  throw user_error("schedule", "no schedule is called '{}'; choose one of {}", name,
                   fmt::join(names, ", "));
}

void check_shape(const Schedule& schedule, PipelineShape shape) {
  const auto [d, m, v] = shape;
  if (d < 1 || m < 1 || v < 1) {
    throw user_error("schedule",
                     "stages, micro-batches and chunks are {}, {} and {}; set each to 1 or more", d,
                     m, v);
  }
  const std::string complaint = schedule.complaint(shape);
  if (!complaint.empty()) throw user_error("schedule", "{}", complaint);
}

std::string complaint_about_chunks(std::string_view name, PipelineShape shape, int chunks) {
  if (shape.chunks == chunks) return "";
  return fmt::format(
      "schedule '{}' has {} per stage, but pipeline.chunks = {}; set "
      "pipeline.chunks = {}",
      name, chunks == 1 ? "one chunk" : fmt::format("{} chunks", chunks), shape.chunks, chunks);
}

}  // namespace penstock::schedule
