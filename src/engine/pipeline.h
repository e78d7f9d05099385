#pragma once
// A whole model as a pipeline of stages in this process.

#include <ATen/ATen.h>

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

namespace penstock::engine {

class ModelStage;

/// A trained parameter by its Hugging Face name.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // fp32
};

/// Builds one stage per range of the partition and runs the configured schedule over them, each
/// stage on its own pinned thread. The configuration must outlive it.
class Pipeline {
 public:
  struct Setup {
    const config::Config* config = nullptr;
    SourceFactory make_source;
    std::int64_t validation_micro_batches = 0;  // per evaluation; 0: no evaluation
    EventSink report;
  };

  explicit Pipeline(Setup setup);
  ~Pipeline();

  /// Trains until the gate ends the run. Blocks. Errors: StageFailure with the cause nested.
  void run(comm::BatchGate& gate);

  /// One per stage. May be read while run() is active.
  const std::deque<StageClock>& clocks() const { return clocks_; }

  /// The newest weights, each parameter once, in the order of the model. Not during run().
  std::vector<NamedTensor> weights() const;

 private:
  const config::Config& config_;
  const std::int64_t validation_micro_batches_;
  std::unique_ptr<comm::Reduction> reduction_;
  std::vector<std::unique_ptr<ModelStage>> stages_;
  std::deque<StageClock> clocks_;
};

/// Intra-op threads of each stage: as configured, or the usable cores shared among the stages.
int threads_per_stage(const config::Config& config);

}  // namespace penstock::engine
