#pragma once
// Which shape a command means.

#include <optional>
#include <string_view>

#include "schedule/schedule.h"

namespace penstock::cli {

/// As on the command line.
struct ShapeOptions {
  std::optional<int> stages;
  std::optional<int> micro_batches;
  std::optional<int> chunks;
};

/// What is given, completed by the schedule's only shape or its default number of chunks.
/// Errors: UserError "[command] ..." where something is missing; what is given is not checked.
schedule::PipelineShape shape_of(std::string_view command, const ShapeOptions& options,
                                 const schedule::Schedule& schedule);

}  // namespace penstock::cli
