#include "cli/shape_options.h"

#include "base/error.h"

namespace penstock::cli {
namespace {

constexpr int unknown = 0;

int value(std::string_view command, std::string_view flag, std::optional<int> given, int known) {
  if (given) return *given;
  if (known != unknown) return known;
  throw user_error(command, "{} is not given, and only a grid file has its own; set {} 4", flag,
                   flag);
}

}  // namespace

schedule::PipelineShape shape_of(std::string_view command, const ShapeOptions& options,
                                 const schedule::Schedule& schedule) {
  const auto known = schedule.only_shape.value_or(
      schedule::PipelineShape{unknown, unknown, schedule.default_chunks});
  return {.stages = value(command, "--stages", options.stages, known.stages),
          .micro_batches =
              value(command, "--micro-batches", options.micro_batches, known.micro_batches),
          .chunks = value(command, "--chunks", options.chunks, known.chunks)};
}

}  // namespace penstock::cli
