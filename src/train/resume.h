#pragma once
// Going on with a run that was stopped or killed.

#include <filesystem>
#include <vector>

#include "checkpoint/manifest.h"
#include "config/config.h"
#include "engine/stage_state.h"
#include "train/kept_metrics.h"
#include "train/run_folder.h"

namespace penstock::train {

/// A run whose newest checkpoint is whole and its own.
struct StoppedRun {
  RunFolder folder;
  FolderLock lock;                   // held for the life of the object
  config::Config config;             // the run's own; output.dir is the folder
  std::filesystem::path checkpoint;  // verified
  checkpoint::Manifest manifest;
};

/// Changes nothing. Errors: UserError "[resume]" for a folder that is none of a run, is being
/// written, has finished or has no checkpoint, for one that is damaged, and for a configuration
/// that gives other results than the checkpoint's; "[config]" for one that cannot be read.
StoppedRun open_stopped_run(const std::filesystem::path& run);

struct RestoredState {
  std::vector<engine::StageState> stages;
  KeptMetrics metrics;
};

/// What the engine and the metrics go on from. Changes nothing.
/// Errors: UserError.
RestoredState read_state(const StoppedRun& run);

/// Takes the folder back to the cut: metrics.jsonl ends there, and nothing half written is left. At
/// every moment it can be gone on with again. Errors: std::system_error naming the file.
void rewind(const StoppedRun& run, const KeptMetrics& metrics);

}  // namespace penstock::train
