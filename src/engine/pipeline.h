#pragma once
// A whole model as a pipeline of stages in this process.

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
#include "engine/stage_clock.h"
#include "model/partition.h"
#include "schedule/schedule.h"

namespace penstock::engine {

class ModelStage;

/// A trained parameter by its Hugging Face name.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // fp32
};

/// Cuts the model into the pieces of the partition, places them on stages as the configured
/// schedule says, and runs that schedule, each stage on its own pinned thread. The configuration
/// must outlive it.
class Pipeline {
 public:
  struct Setup {
    const config::Config* config = nullptr;
    schedule::Schedule schedule;  // of proved_schedule()
    SourceFactory make_source;
    std::int64_t validation_micro_batches = 0;  // per evaluation; 0: no evaluation
    EventSink report;
    bool trace = false;  // report spans
  };

  explicit Pipeline(Setup setup);
  ~Pipeline();

  /// Trains until the gate ends the run. Blocks. Second 0 of all spans is the moment of the call.
  /// Errors: StageFailure with the cause nested.
  void run(comm::BatchGate& gate);

  const schedule::Schedule& schedule() const { return schedule_; }
  schedule::PipelineShape shape() const { return shape_; }

  /// One per stage. May be read while run() is active.
  const std::deque<StageClock>& clocks() const { return clocks_; }

  /// The newest weights, each parameter once, in the order of the model. Not during run().
  std::vector<NamedTensor> weights() const;

 private:
  schedule::ActionStream stream_of(int stage, comm::BatchGate& gate) const;

  const config::Config& config_;
  const schedule::Schedule schedule_;
  const schedule::PipelineShape shape_;
  const std::int64_t validation_micro_batches_;
  const EventSink report_;
  const bool trace_;
  std::unique_ptr<comm::Reduction> reduction_;
  std::vector<std::unique_ptr<ModelStage>> stages_;
  std::deque<StageClock> clocks_;
};

/// Intra-op threads of each stage: as configured, or the usable cores shared among the stages.
int threads_per_stage(const config::Config& config);

/// The configured schedule, proved in the configured shape. Allocates nothing of the model.
/// Errors: UserError naming the rule that it breaks.
schedule::Schedule proved_schedule(const config::Config& config);

schedule::PipelineShape shape_of(const config::Config& config);

/// The pieces of the model in order, each with the stage that holds it.
std::vector<model::Piece> pieces(const config::Config& config, const schedule::Schedule& schedule);

}  // namespace penstock::engine
