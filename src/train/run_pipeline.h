#pragma once
// The engine at work, and its events on the way to whom they concern.

#include <exception>
#include <optional>

#include "checkpoint/manifest.h"
#include "comm/batch_gate.h"
#include "config/config.h"
#include "engine/pipeline.h"
#include "train/checkpoint_saver.h"
#include "train/event_handler.h"
#include "train/event_queue.h"
#include "train/run_folder.h"

namespace penstock::train {

/// Where the engine puts its events. States wait in the stage that made them until the saver, which
/// is there when the run begins, has room for them. The arguments must outlive what is returned.
engine::EventSink sink_into(EventQueue& events, std::optional<CheckpointSaver>& saver);

/// A saver into the run's folder that ends the run where it fails.
CheckpointSaver::Setup saver_setup(const config::Config& config, const RunFolder& folder,
                                   checkpoint::Identity identity, comm::BatchGate& gate,
                                   int states_per_stage);

struct Failures {
  std::exception_ptr engine;
  std::exception_ptr report;  // of metrics, trace or checkpoints; ends the run early
};

/// Runs the pipeline on its own threads and handles its events on this one, until the last
/// checkpoint is on the disk.
[[nodiscard]] Failures run_pipeline(engine::Pipeline& pipeline, comm::BatchGate& gate,
                                    EventQueue& events, EventHandler& handler,
                                    CheckpointSaver& saver);

}  // namespace penstock::train
