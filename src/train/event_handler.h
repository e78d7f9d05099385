#pragma once
// What becomes of the engine's events.

#include <cstdint>
#include <vector>

#include "engine/events.h"
#include "engine/stage_state.h"
#include "train/checkpoint_saver.h"
#include "train/run_reporter.h"

namespace penstock::train {

/// Gives states to the saver and everything else to the reporter. A state waits until the records
/// of all updates before its cut are written, so that whoever finds a checkpoint finds them too.
/// What a stage tells again after a restart is dropped: stages that update alone report an update
/// when all others have made it, which may be behind the cut. Used by one thread.
class EventHandler {
 public:
  /// `cut`: where the run began, 0 for a new one. The others must outlive the object.
  EventHandler(RunReporter& reporter, CheckpointSaver& saver, std::int64_t cut)
      : reporter_(reporter), saver_(saver), cut_(cut) {}

  /// Errors: std::system_error (full disk).
  void handle(engine::Event event);

  /// After the last event, also of a failed run. Errors: std::system_error.
  void finish();

 private:
  bool is_old(const engine::Event& event) const;
  void pass_states_on();

  RunReporter& reporter_;
  CheckpointSaver& saver_;
  const std::int64_t cut_;
  std::vector<engine::StageState> states_;
};

}  // namespace penstock::train
