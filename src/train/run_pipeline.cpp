#include "train/run_pipeline.h"

#include <thread>
#include <utility>
#include <variant>

#include "checkpoint/folder.h"

namespace penstock::train {
namespace {

/// Calls `action` and keeps what it throws, unless something was kept before.
template <class Action>
void keep_failure(std::exception_ptr& failure, Action action) {
  try {
    action();
  } catch (...) {
    if (!failure) failure = std::current_exception();
  }
}

}  // namespace

engine::EventSink sink_into(EventQueue& events, std::optional<CheckpointSaver>& saver) {
  return [&](engine::Event event) {
    if (const auto* capture = std::get_if<engine::CaptureEvent>(&event)) {
      saver->wait_for_room(capture->state.stage);
    }
    events.push(std::move(event));
  };
}

CheckpointSaver::Setup saver_setup(const config::Config& config, const RunFolder& folder,
                                   checkpoint::Identity identity, comm::BatchGate& gate,
                                   int states_per_stage) {
  return {.writer = {.folder = folder.checkpoints(),
                     .stages = static_cast<int>(config.pipeline.stages),
                     .identity = std::move(identity),
                     // A checkpoint is of use only with the records before it.
                     .before_publication =
                         [file = folder.metrics()] { checkpoint::flush_to_disk(file); }},
          .on_failure = [&gate] { gate.request_end(); },
          .states_per_stage = states_per_stage};
}

Failures run_pipeline(engine::Pipeline& pipeline, comm::BatchGate& gate, EventQueue& events,
                      EventHandler& handler, CheckpointSaver& saver) {
  Failures failures;
  std::jthread engine_thread([&] {
    keep_failure(failures.engine, [&] { pipeline.run(gate); });
    events.end();
  });
  while (auto event = events.pop()) {
    if (failures.report) continue;  // only waiting for the stages to come to rest
    keep_failure(failures.report, [&] { handler.handle(std::move(*event)); });
    if (!failures.report) continue;
    saver.abandon();
    gate.request_end();
  }
  engine_thread.join();
  if (!failures.report) keep_failure(failures.report, [&] { handler.finish(); });
  keep_failure(failures.report, [&] { saver.finish(); });
  return failures;
}

}  // namespace penstock::train
