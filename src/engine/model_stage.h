#pragma once
// A stage that trains its part of the model: one chunk or several.

#include <ATen/ATen.h>

#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "comm/reduction.h"
#include "config/config.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"
#include "engine/model_chunk.h"
#include "engine/stage.h"

namespace penstock::engine {

/// What a stage needs to know of the run besides its own part.
struct ModelStageSetup {
  const config::Config* config = nullptr;
  const std::vector<model::Unit>* chain = nullptr;
  std::vector<model::UnitRange> chunks;
  int weight_versions = 1;
  int gradient_buffers = 1;
  bool stashes_weights = true;
  bool updates_together = true;  // an update knows the batch's sums over all stages
  std::int64_t validation_micro_batches = 0;
  std::unique_ptr<MicroBatchSource> source;
  comm::Reduction* reduction = nullptr;
  EventSink report;  // used by the stage that computes the loss
};

/// Used by its own thread after construction; the final weights may be read once that has ended.
class ModelStage final : public Stage<at::Tensor> {
 public:
  explicit ModelStage(ModelStageSetup setup);

  void start() override;
  at::Tensor forward(const schedule::Action& action, at::Tensor input) override;
  at::Tensor backward(const schedule::Action& action, at::Tensor gradient) override;
  at::Tensor backward_input(const schedule::Action& action, at::Tensor gradient) override;
  void backward_weight(const schedule::Action& action) override;
  void contribute(const schedule::Action& action) override;
  void await_reduction(const schedule::Action& action) override;
  void update(const schedule::Action& action) override;
  at::Tensor evaluate(const schedule::Action& action, at::Tensor input) override;

  std::deque<ModelChunk>& chunks() { return chunks_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Update {
    std::int64_t batch = 0;
    double clip_factor = 1;
    Time at;
  };
  struct Validation {
    double loss_sum = 0;  // over tokens
    std::int64_t tokens = 0;
  };

  ModelChunk& chunk_of(const schedule::Action& action);
  bool computes_loss() const;
  double clip_factor(const comm::BatchTotal& total) const;
  void report_update(const Update& update, const comm::BatchTotal& total) const;
  void report_evaluations();
  void add_validation_loss(const schedule::Action& action, double mean_loss, std::int64_t tokens);

  const config::Config& config_;
  const bool updates_together_;
  std::deque<ModelChunk> chunks_;
  const std::int64_t validation_micro_batches_;
  std::unique_ptr<MicroBatchSource> source_;
  comm::Reduction& reduction_;
  EventSink report_;
  comm::BatchTotal total_;                 // of the batch to be updated from
  std::deque<Update> unreported_;          // made before the batch's sums were known
  std::deque<EvaluationEvent> held_back_;  // of weights whose update is not reported yet
  Time updated_;                           // when the newest weights were written
  Validation validation_;
};

}  // namespace penstock::engine
