#pragma once
// All updates of one stage's parameters.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "config/config.h"
#include "delay/correction.h"
#include "engine/parameter_updater.h"
#include "engine/stage_state.h"
#include "model/layout.h"
#include "optim/lr_schedule.h"
#include "optim/optimizer.h"

namespace penstock::engine {

/// Routes every parameter to an optimizer: one that takes only matrices gets those of the blocks,
/// the fallback gets embeddings, head and gains; gains are not decayed. Used by one thread.
class StageUpdater {
 public:
  /// `weights`: the stage's flat fp32 weights, for the shapes of the state.
  StageUpdater(const config::Config& config, const model::Layout& layout,
               const at::Tensor& weights);

  /// Writes W(batch + 1) into `next` from W(batch) in `newest` and the batch's clipped gradient,
  /// all flat; `next` may be `newest`. The learning rate follows the batch's number; the
  /// optimizers' own step counts only the updates that were applied.
  GroupChanges apply(std::int64_t batch, const at::Tensor& gradients, const at::Tensor& newest,
                     const at::Tensor& next);

  /// Learning rate of [optimizer] in the update of this batch.
  double learning_rate(std::int64_t batch) const;

  void capture(StageState& state, const std::string& prefix) const;
  void restore(const StageState& state, const std::string& prefix);

 private:
  struct Entry {
    const model::Layout::Parameter* place;
    const optim::Optimizer* optimizer;
    ParameterUpdater updater;
    std::string group;
  };

  const model::Layout& layout_;
  const optim::LrSchedule schedule_;
  optim::OptimizerPtr optimizer_;
  optim::OptimizerPtr fallback_;
  delay::CorrectionPtr correction_;
  std::vector<Entry> entries_;
  std::int64_t applied_ = 0;
};

optim::LrSchedule lr_schedule(const config::Config& config);

}  // namespace penstock::engine
