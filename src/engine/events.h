#pragma once
// What the engine reports while it runs.

#include <chrono>
#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "engine/group_change.h"
#include "engine/stage_profile.h"
#include "engine/stage_state.h"
#include "timeline/timeline.h"
#include "timeline/usage.h"

namespace penstock::engine {

/// W(batch + 1) is complete on the reporting stage, and the batch's sums are known.
struct UpdateEvent {
  std::int64_t batch = 0;
  double loss = 0;           // mean over the batch's tokens, at the weights the batch read
  double gradient_norm = 0;  // global, before clipping
  double clip_factor = 1;
  double lr = 0;  // of [optimizer]
  /// Loss or gradient norm is a NaN or an infinity: W(batch + 1) = W(batch) on every stage, or,
  /// where stages update alone, on those that saw it.
  bool skipped = false;
  std::chrono::steady_clock::time_point at;
};

/// What one stage saw of one update. Comes from every stage, in the order of its batches.
struct StageEvent {
  int stage = 0;
  std::int64_t batch = 0;
  double gradient_norm = 0;  // of the parameters that the stage holds, before clipping
  /// Updates between the weights that the batch's forwards read and the newest ones, counted.
  std::int64_t least_delay = 0;
  std::int64_t most_delay = 0;
  timeline::Usage usage;       // seconds since the start of run(); idle is not filled in
  double waited_for_core = 0;  // seconds since the start of run(), in no part of `usage`
  GroupChanges groups;         // empty where the update was skipped
};

/// All validation micro-batches of one evaluation are done.
struct EvaluationEvent {
  std::int64_t version = 0;
  double loss = 0;                              // mean over the tokens
  std::int64_t tokens = 0;                      // evaluated
  std::chrono::steady_clock::time_point begin;  // when the reporting stage had W(version)
  std::chrono::steady_clock::time_point at;
};

/// What a stage has done; only where the run is traced. In the order of time for each stage.
struct SpansEvent {
  int stage = 0;
  std::vector<timeline::Span> spans;
};

/// One stage's part of a checkpoint.
struct CaptureEvent {
  StageState state;
};

/// Comes once per stage, behind the last update; only where the run is profiled and has made enough
/// updates for it (engine/stage_profiler.h).
struct ProfileEvent {
  StageProfile profile;
};

using Event =
    std::variant<UpdateEvent, StageEvent, EvaluationEvent, SpansEvent, CaptureEvent, ProfileEvent>;

/// Updates and evaluations come in order from the stage that computes the loss, the others from
/// every stage's own thread. Must be thread-safe and may block only briefly.
using EventSink = std::function<void(Event)>;

}  // namespace penstock::engine
