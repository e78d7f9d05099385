#pragma once
// A whole model as a pipeline of stages in this process, or this process's share of one.

#include <ATen/ATen.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/batch_gate.h"
#include "comm/reduction.h"
#include "config/config.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"
#include "engine/named_tensor.h"
#include "engine/ranks.h"
#include "engine/stage_monitor.h"
#include "engine/stage_state.h"
#include "engine/stage_threads.h"
#include "engine/watchdog.h"
#include "model/partition.h"
#include "schedule/schedule.h"

namespace penstock::engine {

class ModelStage;

/// Cuts the model into the pieces of the partition, places them on stages as the configured
/// schedule says, and runs that schedule, each stage on its own pinned thread. With more stages
/// than cores they take turns. The configuration must outlive it.
class Pipeline {
 public:
  struct Setup {
    const config::Config* config = nullptr;
    /// The other processes of the run; null: all stages are here. Must outlive the pipeline.
    Ranks* ranks = nullptr;
    schedule::Schedule schedule;  // of proved_schedule()
    SourceFactory make_source;
    std::int64_t validation_micro_batches = 0;  // per evaluation; 0: no evaluation
    EventSink report;
    bool trace = false;    // report spans
    bool profile = false;  // report where each stage's time went
    /// Of every stage here at least, all of one cut; empty: from the start.
    std::vector<StageState> restore = {};
    /// Called by every stage before every action; to disturb a run on purpose.
    std::function<void(int stage, const schedule::Action&)> before_action = nullptr;
    /// See comm::Reduction; what it costs is off the critical path as long as the slack lasts.
    comm::Reduction::Exchange exchange = nullptr;
    /// Gets the watchdog's text on a thread of its own.
    std::function<void(const std::string&)> warn = nullptr;
    /// Called at a failure, before the threads have ended: wakes a report that blocks one of them.
    std::function<void()> on_failure = nullptr;
  };

  explicit Pipeline(Setup setup);
  ~Pipeline();

  /// Trains until the gate ends the run. Blocks. Second 0 of all spans is the moment of the call,
  /// with several ranks that of the last of them. Errors: StageFailure with the cause nested; those
  /// of Ranks::end().
  void run(comm::BatchGate& gate);

  const schedule::Schedule& schedule() const { return schedule_; }
  schedule::PipelineShape shape() const { return shape_; }

  /// The newest weights, each parameter once, in the order of the model: on rank 0 all of them once
  /// run() has returned, on other ranks those of their own stages. Not during run().
  std::vector<NamedTensor> weights() const;

 private:
  schedule::ActionStream stream_of(int stage, comm::BatchGate& gate) const;
  Watchdog::Setup watchdog_setup() const;
  void preload(const std::vector<StageState>& states);
  void make_reduction(const Setup& setup);
  void make_stages(Setup& setup);
  Ranks::Time begin(const StageThreads<at::Tensor>& run, comm::BatchGate& gate);
  void report_profiles(const std::deque<StageProfiler>& profilers) const;
  void end(std::exception_ptr failure);
  void give_weights();
  std::vector<NamedTensor> weights_of(int piece) const;
  ModelStage& stage_at(int number) const;

  const config::Config& config_;
  const schedule::Schedule schedule_;
  const schedule::PipelineShape shape_;
  Ranks* const ranks_;
  const Ranks::Share here_;
  const Ranks::Share on_host_;
  const std::int64_t validation_micro_batches_;
  const EventSink report_;
  const bool trace_;
  const bool profile_;
  const std::function<void(int stage, const schedule::Action&)> before_action_;
  const std::function<void(const std::string&)> warn_;
  const std::function<void()> on_failure_;
  const at::Device device_;
  const std::int64_t cut_;
  std::unique_ptr<Edges<at::Tensor>> edges_;
  std::unique_ptr<comm::Reduction> reduction_;
  std::deque<StageMonitor> monitors_;                // of the stages here
  std::vector<std::unique_ptr<ModelStage>> stages_;  // likewise
};

/// How a gate must be set up for a run of this configuration that goes on from `cut`.
comm::BatchGate::Setup gate_setup(const config::Config& config, const schedule::Schedule& schedule,
                                  std::int64_t cut = 0);

/// Intra-op threads of each stage: as configured, or the usable cores shared among the stages on
/// this host.
int threads_per_stage(const config::Config& config, int stages_on_host);
int threads_per_stage(const config::Config& config);  // where all stages are on this host

/// The configured schedule, proved in the configured shape. Allocates nothing of the model.
/// Errors: UserError naming the rule that it breaks.
schedule::Schedule proved_schedule(const config::Config& config);

schedule::PipelineShape shape_of(const config::Config& config);

/// The pieces of the model in order, each with the stage that holds it.
std::vector<model::Piece> pieces(const config::Config& config, const schedule::Schedule& schedule);

}  // namespace penstock::engine
