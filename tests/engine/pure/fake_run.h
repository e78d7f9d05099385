#pragma once
// Runs of the fake model: by the engine's stage threads, and by a plain loop that defines what
// comes out.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/pure/fake_model.h"
#include "engine/pure/fake_stage.h"
#include "engine/span_recorder.h"
#include "engine/stage_monitor.h"
#include "engine/stage_profiler.h"
#include "schedule/lowering.h"
#include "schedule/schedule.h"
#include "schedule/sync_phases.h"

namespace penstock::tests {

struct FakeRun {
  std::string schedule = "2bw";
  schedule::PipelineShape shape{.stages = 2, .micro_batches = 2};
  std::int64_t batches = 20;
  schedule::EvaluationPlan evaluation{};
  /// Phases without delay: batches below `sync` and from `final_begin` on.
  std::int64_t sync = 0;
  std::int64_t final_begin = schedule::no_final_phase;
  int layers = 0;  // 0: pieces of one layer and of two
  std::vector<Poison> poisons{};

  FakeModel model() const;
  schedule::Schedule make_schedule() const;
};

/// "2bw d=3 m=4 v=1", and what else is not as usual.
std::string text(const FakeRun& run);

using Evaluations = std::vector<std::pair<std::int64_t, Payload>>;  // version, output

struct FakeResult {
  FakeWeights weights;
  Evaluations evaluations;
  std::int64_t sums = 0;                           // of the batches' totals, mixed to one number
  std::vector<std::vector<std::int64_t>> skipped;  // batches, by stage
  friend bool operator==(const FakeResult&, const FakeResult&) = default;
};
std::ostream& operator<<(std::ostream& out, const FakeResult& result);

/// The states of all stages at the cuts that were captured.
using Captures = std::map<std::int64_t, std::vector<FakeState>>;

/// How the engine is to run it.
struct RunOptions {
  std::function<bool(std::int64_t version)> capture_due = nullptr;  // null: never
  const std::vector<FakeState>* restore = nullptr;                  // of all stages
  /// Ask for a stop when stage 0 asks for this batch; with captures also at a cut for it.
  std::int64_t stop_at = -1;
  int cores = 0;  // 0: one for every stage
  int rank = 0;
  std::function<void(int stage, const schedule::Action&)> before_action = nullptr;
  std::function<void(int stage, const schedule::Action&)> in_action = nullptr;
  std::function<void(int stage)> in_start = nullptr;
  std::function<void(int stage)> in_finish = nullptr;
  std::function<void(int stage)> on_thread = [](int) {};
  /// To plant mistakes: of what a stage computes, and of all that it does.
  std::function<schedule::ActionStream(int stage, schedule::ActionStream)> change_compute = nullptr;
  std::function<schedule::ActionStream(int stage, schedule::ActionStream)> change_stream = nullptr;
  comm::Reduction::Exchange exchange = nullptr;
  std::deque<engine::StageMonitor>* monitors = nullptr;  // one per stage; null: the run's own
  std::deque<engine::SpanRecorder>* recorders = nullptr;
  std::deque<engine::StageProfiler>* profilers = nullptr;
  Captures* captures = nullptr;
};

/// Errors: what the run ends with, and std::logic_error where the stages disagree behind it.
FakeResult run_fake(const FakeRun& run, const RunOptions& options = {});

/// A run that is captured at every cut.
struct CapturedRun {
  FakeResult result;
  Captures captures;
};
CapturedRun run_captured(const FakeRun& run, RunOptions options = {});

/// Which version a stage reads in the forward and the backward of micro-batch i, counted over the
/// run: the definition of the schedule.
struct Definition {
  std::string schedule;
  std::function<std::int64_t(int stage, schedule::PipelineShape, std::int64_t i)> forward;
  std::function<std::int64_t(int stage, schedule::PipelineShape, std::int64_t i)> backward;
  bool updates_together = true;
};
const std::vector<Definition>& definitions();
/// With the run's phases without delay.
Definition definition_of(const FakeRun& run);

/// One micro-batch after the other through all layers, every version kept.
FakeResult plain_loop(const FakeRun& run, const Definition& rule);
FakeResult plain_loop(const FakeRun& run);

/// Shapes of up to `most_stages` that the schedule takes.
std::vector<schedule::PipelineShape> shapes_of(const schedule::Schedule& schedule,
                                               int most_stages = 8);

/// Under the thread sanitizer, which slows a run down some twenty times.
constexpr bool under_thread_sanitizer() {
#if defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return true;
#else
  return false;
#endif
#else
  return false;
#endif
}

}  // namespace penstock::tests
