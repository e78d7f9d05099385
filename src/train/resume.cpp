#include "train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/damage.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"
#include "train/catalogue.h"
#include "train/run_identity.h"

namespace penstock::train {
namespace {

namespace fs = std::filesystem;

void require_run(const RunFolder& folder) {
  if (fs::is_directory(folder.path) && fs::exists(folder.config())) return;
  throw user_error("resume",
                   "'{}' is no run folder: it has no config.toml; give the folder that 'penstock "
                   "train' wrote (output.dir)",
                   folder.path.string());
}

/// Whether the weights are those after the last update.
bool has_finished(const RunFolder& folder, const config::Config& config) {
  if (!fs::exists(folder.weights())) return false;
  try {
    const auto metadata = checkpoint::read_safetensors_metadata(folder.weights());
    const auto updates = metadata.find(updates_key);
    return updates != metadata.end() && updates->second == fmt::format("{}", config.updates());
  } catch (const UserError&) {
    return false;  // damaged: going on makes them anew
  }
}

fs::path find_checkpoint(const RunFolder& folder) {
  const auto newest = checkpoint::newest_checkpoint(folder.checkpoints());
  if (newest) return *newest;
  throw user_error("resume",
                   "'{}' has no checkpoint to go on from; train with --save-every N "
                   "(output.save_every), which writes one every N updates",
                   folder.path.string());
}

void require_shape(const StoppedRun& run) {
  const bool fits = run.manifest.stages == run.config.pipeline.stages && run.manifest.cut >= 0 &&
                    run.manifest.cut <= run.config.updates();
  if (fits) return;
  throw checkpoint::damage(
      run.checkpoint,
      fmt::format("is of update {} on {} stages, the run has {} updates on {} stages",
                  run.manifest.cut, run.manifest.stages, run.config.updates(),
                  run.config.pipeline.stages));
}

}  // namespace

StoppedRun open_stopped_run(const fs::path& path) {
  const RunFolder folder{path.has_filename() ? path : path.parent_path()};
  require_run(folder);
  StoppedRun run{
      folder, FolderLock(folder.path, "resume", "wait for that run, or stop it"), {}, {}, {}};
  run.config = config::load(folder.config(), {}, catalogue());
  run.config.output.dir = folder.path.string();
  if (has_finished(folder, run.config)) {
    throw user_error("resume",
                     "'{}' has finished: its {} updates are done and model.safetensors is written; "
                     "use it, or train anew with 'penstock train'",
                     folder.path.string(), run.config.updates());
  }
  run.checkpoint = find_checkpoint(folder);
  run.manifest = checkpoint::read_manifest(run.checkpoint);
  require_same_configuration(folder.path, run.manifest.identity,
                             configuration_identity(run.config));
  run.manifest = checkpoint::verify_checkpoint(run.checkpoint);
  require_shape(run);
  return run;
}

RestoredState read_state(const StoppedRun& run) {
  RestoredState state;
  state.metrics = read_kept_metrics(run.folder.metrics(), run.manifest.cut);
  auto checkpoint = checkpoint::read_checkpoint(run.checkpoint);
  for (auto& tensors : checkpoint.stages) {
    const int stage = static_cast<int>(state.stages.size());
    state.stages.push_back({stage, run.manifest.cut, std::move(tensors)});
  }
  return state;
}

void rewind(const StoppedRun& run, const KeptMetrics& metrics) {
  checkpoint::remove_partial_checkpoints(run.folder.checkpoints());
  write_file_atomically(run.folder.metrics(), metrics.text);
}

}  // namespace penstock::train
