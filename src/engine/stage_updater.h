#pragma once
// All updates of one stage's parameters.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "base/operation_profile.h"
#include "config/config.h"
#include "delay/correction.h"
#include "engine/parameter_updater.h"
#include "engine/stage_state.h"
#include "model/layout.h"
#include "optim/lr_schedule.h"
#include "optim/momentum_schedule.h"
#include "optim/optimizer.h"
#include "optim/routing.h"

namespace penstock::engine {

/// Updates every parameter with the optimizer that it is routed to (optim/routing.h). Used by one
/// thread.
class StageUpdater {
 public:
  /// Whether optimizers that gain by it get several parameters of one shape at once.
  enum class Together { where_it_pays, always };

  /// `weights`: the stage's flat fp32 weights, for the shapes of the state.
  StageUpdater(const config::Config& config, const model::Layout& layout, const at::Tensor& weights,
               Together together = Together::where_it_pays);

  /// Writes W(batch + 1) from W(batch) and the batch's gradient, all flat. Learning rate and
  /// momentum follow the batch's number; the optimizers' own step counts only the updates that were
  /// applied.
  GroupChanges apply(std::int64_t batch, const Gradient& gradient, const WeightPlaces& weights);

  /// Whether the weights that a gradient was taken at have a part in the update.
  bool needs_seen_weights() const { return correction_->changes_gradient(); }

  /// Learning rate of [optimizer] in the update of this batch.
  double learning_rate(std::int64_t batch) const;

  void capture(StageState& state, const std::string& prefix) const;
  void restore(const StageState& state, const std::string& prefix);

 private:
  struct Entry {
    const model::Layout::Parameter* place;
    const optim::Optimizer* optimizer;
    double lr_factor;
    double weight_decay;
    std::size_t unit;  // of the stage's range
    ParameterUpdater updater;
    std::string group;
    std::string optimizer_name;
  };
  /// What an update of one parameter works on.
  struct Work {
    Gradient gradient;
    WeightPlaces weights;
    ParameterUpdater::Moment moment;
  };
  /// Entries whose optimizer works on them at once: one, or several of equal shape in one unit. A
  /// unit is never cut, so their number, and with it the bits, do not depend on the depth.
  using Batch = std::vector<std::size_t>;

  const optim::Optimizer& optimizer_of(const optim::Route& route) const;
  OperationWork work_of(const Batch& batch, const WeightPlaces& weights) const;
  void add_entry(const model::Layout::Parameter& parameter, const optim::Route& route,
                 const std::string& optimizer_name, std::size_t unit, const at::Tensor& weights);
  void form_batches(bool together);
  bool goes_with(const Entry& entry, const Batch& batch) const;
  Work work_of(const Entry& entry, std::int64_t number, const Gradient& gradient,
               const WeightPlaces& weights) const;
  void apply_together(const Batch& batch, std::int64_t number, const Gradient& gradient,
                      const WeightPlaces& weights, GroupChanges& changes);

  const model::Layout& layout_;
  const optim::LrSchedule schedule_;
  const optim::MomentumSchedule momentum_;
  optim::OptimizerPtr optimizer_;
  optim::OptimizerPtr fallback_;
  std::vector<optim::OptimizerPtr> groups_;  // of Config::groups
  delay::CorrectionPtr correction_;
  std::vector<Entry> entries_;
  std::vector<Batch> batches_;
  std::int64_t applied_ = 0;
};

}  // namespace penstock::engine
