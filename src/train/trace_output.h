#pragma once
// The trace that a run writes where it is asked to.

#include <filesystem>
#include <iosfwd>
#include <optional>

#include "config/config.h"
#include "engine/pipeline.h"
#include "timeline/trace_file.h"
#include "train/run_folder.h"

namespace penstock::train {

/// Refuses a path that is a folder or one of the run's own files. An empty one is none.
/// Errors: UserError.
void check_trace_path(const std::filesystem::path& path, const RunFolder& run);

/// Nothing for an empty path. Errors: std::system_error.
std::optional<timeline::TraceWriter> open_trace(const std::filesystem::path& path,
                                                const config::Config& config,
                                                const engine::Pipeline& pipeline);

/// Ends the file and tells what is in it. Errors: std::system_error.
void close_trace(std::ostream& out, const std::filesystem::path& path,
                 timeline::TraceWriter& trace);

}  // namespace penstock::train
