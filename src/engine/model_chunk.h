#pragma once
// One piece of the model on a stage: its weights, gradients and micro-batches in flight.

#include <ATen/ATen.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "comm/reduction.h"
#include "config/config.h"
#include "engine/stage_state.h"
#include "engine/stage_updater.h"
#include "engine/weight_slots.h"
#include "model/layout.h"
#include "model/stage_model.h"
#include "schedule/action.h"

namespace penstock::engine {

/// Weights and gradients are flat buffers. fp32: the version slots hold the weights themselves.
/// bf16: the slots hold bf16 copies for the computation, one fp32 master holds the newest weights.
/// Used by its stage's thread after construction; the final weights may be read once that has
/// ended.
class ModelChunk {
 public:
  struct Setup {
    const config::Config* config = nullptr;
    const std::vector<model::Unit>* chain = nullptr;
    model::UnitRange range;
    int weight_versions = 1;
    int gradient_buffers = 1;
    bool stashes_weights = true;  // B reads the version of its F, kept until then; else its own
    at::Device device = at::kCPU;
  };

  explicit ModelChunk(const Setup& setup);

  at::Tensor forward(const schedule::Action& action, at::Tensor input, model::MicroBatch batch);
  at::Tensor backward(const schedule::Action& action, const at::Tensor& gradient);
  at::Tensor backward_input(const schedule::Action& action, const at::Tensor& gradient);
  void backward_weight(const schedule::Action& action);
  at::Tensor evaluate(const schedule::Action& action, const at::Tensor& input,
                      const model::MicroBatch& batch);

  /// Adds the batch's squared norms, loss and tied gradients.
  /// Errors: std::logic_error where micro-batches are missing.
  void contribute(std::int64_t batch, comm::Contribution& contribution) const;
  /// Writes W(batch + 1) from the batch's gradient, scaled by `factor`, and empties the gradient
  /// buffer. `tied`: the sum of both gradients of a tied weight; null where none is tied.
  GroupChanges update(std::int64_t batch, double factor, const std::vector<float>* tied);
  /// Makes W(batch + 1) the same as W(batch) and empties the gradient buffer.
  void skip(std::int64_t batch);

  /// Versions read by the forwards of the batch, least and most.
  struct VersionsRead {
    std::int64_t least = 0;
    std::int64_t most = 0;
  };
  VersionsRead versions_read(std::int64_t batch) const;

  bool computes_loss() const { return computes_loss_; }
  /// Whether it holds one of the two copies of a tied weight.
  bool holds_tied_weight() const;
  double learning_rate(std::int64_t batch) const { return updater_.learning_rate(batch); }
  const model::Layout& layout() const { return layout_; }
  std::int64_t newest_version() const { return slots_.newest(); }
  /// The newest weights, flat fp32.
  at::Tensor newest_weights();

  void capture(StageState& state, const std::string& prefix) const;
  /// `batch_of` gives the tokens of a forward in flight, which is made again from its input.
  void restore(const StageState& state, const std::string& prefix,
               const std::function<model::MicroBatch(const schedule::Action&)>& batch_of);

 private:
  struct WeightSet {
    at::Tensor master;   // flat fp32; one shared tensor under bf16
    at::Tensor compute;  // flat; the same tensor as master under fp32
    model::StageTensors tensors;
  };
  struct GradientBuffer {
    at::Tensor flat;
    model::StageTensors tensors;
    double loss = 0;
    std::int64_t micro_batches = 0;  // accumulated so far
  };
  struct InFlight {
    schedule::Action action;
    std::optional<WeightSlots<WeightSet>::ReadLease> weights;  // where they are stashed
    model::MicroBatch batch;
    at::Tensor input;  // for checkpoints; the first operation keeps it anyway
    model::StageModel::Tape tape;
    std::optional<model::StageModel::WeightBackward> weight_backward;  // between dX and dW
    at::Tensor loss;  // on the last piece; the backward fills it in
  };

  std::vector<WeightSet> make_weight_sets(int versions, at::Device device) const;
  GradientBuffer& gradients_of(std::int64_t batch);
  const GradientBuffer& gradients_of(std::int64_t batch) const;
  std::deque<InFlight>::iterator find_in_flight(const schedule::Action& action);
  WeightSlots<WeightSet>::ReadLease weights_for_backward(const schedule::Action& action,
                                                         InFlight& flight);
  /// Updates between the oldest weights that the batch's forwards read and the newest.
  std::int64_t delay_of(std::int64_t batch) const;
  void add_loss(const InFlight& flight);
  void leave_flight(std::deque<InFlight>::iterator flight);
  void set_tied_gradients(GradientBuffer& gradients, const std::vector<float>& sum) const;
  void finish(std::int64_t batch);

  const config::Config& config_;
  const bool computes_loss_;
  const bool stashes_weights_;
  const model::Layout layout_;
  const model::StageModel model_;
  WeightSlots<WeightSet> slots_;
  std::vector<GradientBuffer> gradients_;
  StageUpdater updater_;
  std::deque<InFlight> in_flight_;
  std::map<std::int64_t, VersionsRead> versions_read_;  // of batches that are not finished
};

}  // namespace penstock::engine
