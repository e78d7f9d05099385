#pragma once
// One training run from its configuration to its folder.

#include <filesystem>
#include <iosfwd>

#include "config/config.h"
#include "observe/progress.h"
#include "observe/summary.h"

namespace penstock::train {

struct TrainOutput {
  std::ostream& text;           // settings, progress, summary, sample
  observe::Console console;     // what `text` is
  std::filesystem::path trace;  // file for the timeline of the run; empty: none
};

/// Prepares the data, trains, evaluates, and writes the run folder. Nothing is written before
/// configuration and data have passed all checks. SIGINT or SIGTERM ends the run after the started
/// batches; the folder is then complete all the same. Errors: UserError, engine::StageFailure,
/// std::system_error (full disk).
observe::RunSummary train(const config::Config& config, const TrainOutput& output);

}  // namespace penstock::train
