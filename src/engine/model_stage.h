#pragma once
// A stage that trains its part of the model: one chunk or several.

#include <ATen/ATen.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "comm/reduction.h"
#include "config/config.h"
#include "engine/device.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"
#include "engine/model_chunk.h"
#include "engine/stage.h"
#include "engine/stage_monitor.h"

namespace penstock::engine {

/// What a stage needs to know of the run besides its own part.
struct ModelStageSetup {
  int number = 0;
  const config::Config* config = nullptr;
  const std::vector<model::Unit>* chain = nullptr;
  std::vector<model::UnitRange> chunks;
  int weight_versions = 1;
  int gradient_buffers = 1;
  bool stashes_weights = true;
  bool updates_together = true;  // an update knows the batch's sums over all stages
  at::Device device = at::kCPU;
  std::int64_t validation_micro_batches = 0;
  std::unique_ptr<MicroBatchSource> source;
  comm::Reduction* reduction = nullptr;
  const StageMonitor* monitor = nullptr;
  EventSink report;
  std::optional<StageState> restore;  // none: from the start
};

/// Used by its own thread after construction; the final weights may be read once that has ended.
class ModelStage final : public Stage<at::Tensor> {
 public:
  explicit ModelStage(ModelStageSetup setup);

  void start() override;
  void finish() override { deliver_capture(); }
  at::Tensor forward(const schedule::Action& action, at::Tensor input) override;
  at::Tensor backward(const schedule::Action& action, at::Tensor gradient) override;
  at::Tensor backward_input(const schedule::Action& action, at::Tensor gradient) override;
  void backward_weight(const schedule::Action& action) override;
  void contribute(const schedule::Action& action) override;
  void await_reduction(const schedule::Action& action) override;
  void update(const schedule::Action& action) override;
  at::Tensor evaluate(const schedule::Action& action, at::Tensor input) override;
  void capture(const schedule::Action& action) override;
  void in_transit(const schedule::Action& receive, const schedule::Action& origin,
                  const at::Tensor& payload) override;

  std::deque<ModelChunk>& chunks() { return chunks_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Update {
    std::int64_t batch = 0;
    double clip_factor = 1;
    bool skipped = false;
    Time at;
  };
  struct Validation {
    double loss_sum = 0;  // over tokens
    std::int64_t tokens = 0;
  };

  ModelChunk& chunk_of(const schedule::Action& action);
  model::MicroBatch training_batch(const schedule::Action& action);
  model::MicroBatch on_device(model::MicroBatch batch) const;
  bool computes_loss() const;
  double clip_factor(const comm::BatchTotal& total) const;
  void count_skipped(std::int64_t batch, const comm::BatchTotal& total);
  StageEvent stage_event(std::int64_t batch) const;
  void report_update(const Update& update, const comm::BatchTotal& total);
  void report_evaluations();
  void add_validation_loss(const schedule::Action& action, double mean_loss, std::int64_t tokens);
  /// What `compute` makes of a message, complete and ready for other stages.
  template <class Compute>
  at::Tensor from_message(const at::Tensor& message, Compute&& compute) const;
  void deliver_capture();
  void restore(const StageState& state);

  const int number_;
  const config::Config& config_;
  const bool updates_together_;
  const at::Device device_;
  std::optional<StageStream> stream_;  // from start() on
  std::deque<ModelChunk> chunks_;
  const std::int64_t validation_micro_batches_;
  std::unique_ptr<MicroBatchSource> source_;
  comm::Reduction& reduction_;
  const StageMonitor* monitor_;
  EventSink report_;
  std::optional<StageState> restore_;
  comm::BatchTotal total_;                                  // of the batch to be updated from
  std::map<std::int64_t, comm::Contribution> uncollected_;  // own shares of batches under way
  std::map<std::int64_t, double> own_squares_;              // of batches that are not updated yet
  std::int64_t skipped_in_a_row_ = 0;
  std::deque<Update> unreported_;          // made before the batch's sums were known
  std::deque<EvaluationEvent> held_back_;  // of weights whose update is not reported yet
  Time updated_;                           // when the newest weights were written
  Validation validation_;
  std::optional<StageState> captured_;  // messages in transit may still come
  std::int64_t in_transit_ = 0;         // of captured_
};

}  // namespace penstock::engine
