#pragma once
// One training run from its configuration to its folder.

#include <filesystem>
#include <iosfwd>

#include "config/config.h"
#include "observe/progress.h"
#include "observe/summary.h"
#include "ranks/group.h"

namespace penstock::train {

struct TrainOutput {
  std::ostream& text;           // settings, progress, summary, sample
  observe::Console console;     // what `text` is
  std::filesystem::path trace;  // file for the timeline of the run; empty: none
  /// The run's other ranks, of which this is rank 0 (the others: train/share.h); null: one process.
  ranks::Group* group = nullptr;
  bool profile = false;  // tell at the end where a step goes
};

/// Prepares the data, trains, evaluates, and writes the run folder, with a checkpoint in it after
/// every output.save_every updates. Nothing is written before configuration and data have passed
/// all checks. SIGINT or SIGTERM ends the run after the started batches; the folder is then
/// complete all the same. Errors: UserError, engine::StageFailure, std::system_error (full disk).
observe::RunSummary train(const config::Config& config, const TrainOutput& output);

/// Goes on with the run in this folder from its newest checkpoint, with its own configuration, as
/// if it had never stopped: the same weights, and the same records but for times. The summary is of
/// the whole run. Errors: as of train(); a UserError leaves the folder as it was.
observe::RunSummary resume(const std::filesystem::path& run, const TrainOutput& output);

}  // namespace penstock::train
