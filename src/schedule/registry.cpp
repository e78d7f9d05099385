#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "schedule/schedule.h"

namespace penstock::schedule {

const std::vector<Schedule>& registry() {
  static const std::vector<Schedule> schedules{
      one_forward_one_backward(),
      double_buffered_weights(),
      double_buffered_weights_ahead(),
      gpipe(),
      interleaved(),
      zero_bubble_h1(),
      zero_bubble_v(),
      pipedream(),
      one_weight_copy(),
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

std::string complaint_about(const Schedule& schedule, std::int64_t stages,
                            std::int64_t micro_batches, std::int64_t chunks) {
  if (std::min({stages, micro_batches, chunks}) < 1) {
    return fmt::format("stages, micro-batches and chunks are {}, {} and {}; set each to 1 or more",
                       stages, micro_batches, chunks);
  }
  // So that sums and products of what is counted stay within an int.
  constexpr std::int64_t most = 1 << 20;
  for (const auto& [what, value] : {std::pair{"stages", stages},
                                    {"micro-batches", micro_batches},
                                    {"stages * chunks", stages * chunks},
                                    {"micro-batches * chunks", micro_batches * chunks}}) {
    if (value > most) {
      return fmt::format("{} are {}, but at most {} can be scheduled; set fewer", what, value,
                         most);
    }
  }
  return schedule.complaint(
      {static_cast<int>(stages), static_cast<int>(micro_batches), static_cast<int>(chunks)});
}

void check_shape(const Schedule& schedule, PipelineShape shape) {
  const std::string complaint =
      complaint_about(schedule, shape.stages, shape.micro_batches, shape.chunks);
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
