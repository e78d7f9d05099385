#pragma once
// A stage that trains its part of the model.

#include <ATen/ATen.h>

#include <deque>
#include <memory>
#include <vector>

#include "comm/reduction.h"
#include "config/config.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"
#include "engine/stage.h"
#include "engine/stage_updater.h"
#include "engine/weight_slots.h"
#include "model/layout.h"
#include "model/stage_model.h"

namespace penstock::engine {

/// What a stage needs to know of the run besides its own part.
struct ModelStageSetup {
  const config::Config* config = nullptr;
  const std::vector<model::Unit>* chain = nullptr;
  model::UnitRange range;
  int weight_versions = 1;
  int gradient_buffers = 1;
  std::int64_t validation_micro_batches = 0;
  std::unique_ptr<MicroBatchSource> source;
  comm::Reduction* reduction = nullptr;
  EventSink report;  // set on the last stage only
};

/// Weights and gradients are flat buffers. fp32: the version slots hold the weights themselves.
/// bf16: the slots hold bf16 copies for the computation, one fp32 master holds the newest weights.
/// Used by its own thread after construction; the final weights may be read once that has ended.
class ModelStage final : public Stage<at::Tensor> {
 public:
  explicit ModelStage(ModelStageSetup setup);

  void start() override;
  at::Tensor forward(const schedule::Action& action, at::Tensor input) override;
  at::Tensor backward(const schedule::Action& action, at::Tensor gradient) override;
  void contribute(const schedule::Action& action) override;
  void await_reduction(const schedule::Action& action) override;
  void update(const schedule::Action& action) override;
  at::Tensor evaluate(const schedule::Action& action, at::Tensor input) override;

  const model::Layout& layout() const { return layout_; }
  std::int64_t newest_version() const { return slots_.newest(); }
  /// The newest weights, flat fp32.
  at::Tensor newest_weights();

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
    WeightSlots<WeightSet>::ReadLease weights;
    model::MicroBatch batch;
    model::StageModel::Tape tape;
  };

  struct Validation {
    double loss_sum = 0;  // over tokens
    std::int64_t tokens = 0;
  };

  std::vector<WeightSet> make_weight_sets(int versions) const;
  GradientBuffer& gradients_of(std::int64_t batch);
  double clip_factor() const;
  void add_validation_loss(const schedule::Action& action, double mean_loss, std::int64_t tokens);

  const config::Config& config_;
  const bool is_last_;
  const model::Layout layout_;
  const model::StageModel model_;
  WeightSlots<WeightSet> slots_;
  std::vector<GradientBuffer> gradients_;
  StageUpdater updater_;
  const std::int64_t validation_micro_batches_;
  std::unique_ptr<MicroBatchSource> source_;
  comm::Reduction& reduction_;
  EventSink report_;
  std::deque<InFlight> in_flight_;
  comm::BatchTotal total_;
  Validation validation_;
};

}  // namespace penstock::engine
