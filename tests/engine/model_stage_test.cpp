#include "engine/model_stage.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <tuple>

#include "engine/pipeline.h"
#include "engine/stage_threads.h"
#include "engine/wrong_version.h"
#include "model/partition.h"
#include "model/views.h"
#include "schedule/lowering.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::small_config;

/// Whose memory travels between the stages.
struct HandedOver {
  using Key = std::tuple<bool, std::int64_t, std::int64_t>;  // gradient?, batch, micro-batch
  std::mutex mutex;
  std::map<Key, const void*> sent;  // by the stage before, or behind for a gradient
  int received = 0;
  int copied = 0;  // received elsewhere than it was made, or kept elsewhere than it was received
};

/// A stage of two that tells what it is handed and hands over.
class WatchedStage final : public Stage<at::Tensor> {
 public:
  WatchedStage(ModelStage& stage, HandedOver& seen) : stage_(stage), seen_(seen) {}

  void start() override { stage_.start(); }
  void finish() override { stage_.finish(); }
  at::Tensor forward(const schedule::Action& action, at::Tensor input) override {
    const bool is_last = input.defined();
    const at::Storage storage = is_last ? input.storage() : at::Storage();
    if (is_last) receive(false, action, input);
    at::Tensor output = stage_.forward(action, std::move(input));
    if (is_last && storage.use_count() == 1) count_copy();  // what is kept for B is something else
    if (!is_last) send(false, action, output);
    return output;
  }
  at::Tensor backward(const schedule::Action& action, at::Tensor gradient) override {
    const bool is_last = !gradient.defined();
    if (!is_last) receive(true, action, gradient);
    at::Tensor dx = stage_.backward(action, std::move(gradient));
    if (is_last) send(true, action, dx);
    return dx;
  }
  at::Tensor backward_input(const schedule::Action&, at::Tensor) override { std::terminate(); }
  void backward_weight(const schedule::Action&) override { std::terminate(); }
  void contribute(const schedule::Action& action) override { stage_.contribute(action); }
  void await_reduction(const schedule::Action& action) override { stage_.await_reduction(action); }
  void update(const schedule::Action& action) override { stage_.update(action); }
  at::Tensor evaluate(const schedule::Action&, at::Tensor) override { std::terminate(); }
  void capture(const schedule::Action&) override { std::terminate(); }
  void in_transit(const schedule::Action&, const schedule::Action&, const at::Tensor&) override {
    std::terminate();
  }

 private:
  static HandedOver::Key key(bool gradient, const schedule::Action& action) {
    return {gradient, action.batch, action.micro_batch};
  }
  void send(bool gradient, const schedule::Action& action, const at::Tensor& payload) {
    const std::lock_guard lock(seen_.mutex);
    seen_.sent[key(gradient, action)] = payload.const_data_ptr();
  }
  void receive(bool gradient, const schedule::Action& action, const at::Tensor& payload) {
    const std::lock_guard lock(seen_.mutex);
    ++seen_.received;
    seen_.copied += seen_.sent.at(key(gradient, action)) != payload.const_data_ptr() ? 1 : 0;
  }
  void count_copy() {
    const std::lock_guard lock(seen_.mutex);
    ++seen_.copied;
  }

  ModelStage& stage_;
  HandedOver& seen_;
};

/// The stages that engine::Pipeline makes, within reach, for a run whose end is known before.
class Stages {
 public:
  explicit Stages(const config::Config& config)
      : config_(config),
        shape_(shape_of(config)),
        chain_(model::units(config.model)),
        schedule_(schedule::find(config.pipeline.schedule)),
        reduction_({.stages = shape_.stages,
                    .parameters = model::parameter_numbers(chain_, config.model.tied),
                    .tied_parameter = config.model.tied ? 0 : comm::Reduction::no_parameter}),
        monitors_(static_cast<std::size_t>(shape_.stages)) {
    const auto pieces = model::partition(config);
    for (int s = 0; s < shape_.stages; ++s) {
      ModelStageSetup setup{.number = s,
                            .config = &config_,
                            .chain = &chain_,
                            .chunks = {},
                            .weight_versions = schedule_.limits(s, shape_).versions,
                            .gradient_buffers = schedule_.limits(s, shape_).gradient_buffers,
                            .source = tests::random_tokens(config)(),
                            .reduction = &reduction_,
                            .monitor = &monitors_[static_cast<std::size_t>(s)],
                            .report = [](const Event&) {},
                            .restore = {}};
      for (int c = 0; c < shape_.chunks; ++c) {
        const int piece = schedule::piece_at(schedule_.placement, shape_, {s, c});
        setup.chunks.push_back(pieces[static_cast<std::size_t>(piece)]);
      }
      stages_.emplace_back(std::move(setup));
    }
  }

  /// Stage `wrong_stage`, if any, reads other versions in batch 4 than the schedule says.
  void run(int wrong_stage = -1, std::int64_t shift = 0, HandedOver* seen = nullptr) {
    std::deque<WatchedStage> watched;
    Edges<at::Tensor> edges(shape_, schedule_.placement);
    StageThreads<at::Tensor> threads;
    threads.edges = &edges;
    threads.start = std::chrono::steady_clock::now();
    threads.monitors = &monitors_;
    const auto updates = config_.updates();
    for (int s = 0; s < shape_.stages; ++s) {
      auto stream = schedule_.generate(s, shape_, [=](auto batch) { return batch < updates; });
      // Outside of the transfers, so that the neighbours are told nothing of the mistake.
      stream = schedule::with_transfers(std::move(stream), s, shape_, schedule_.placement);
      if (s == wrong_stage) stream = tests::with_wrong_version(std::move(stream), 4, shift);
      threads.streams.push_back(std::move(stream));
      ModelStage& stage = stages_[static_cast<std::size_t>(s)];
      threads.stages.push_back(seen ? &watched.emplace_back(stage, *seen)
                                    : static_cast<Stage<at::Tensor>*>(&stage));
    }
    threads.close = [&] { reduction_.close(); };
    run_stage_threads(std::move(threads));
  }

  /// The newest weights of one kind, over all stages.
  std::vector<at::Tensor> weights(model::ParameterKind kind) {
    std::vector<at::Tensor> result;
    for (auto& stage : stages_) {
      for (auto& chunk : stage.chunks()) {
        for (const auto& parameter : chunk.layout().parameters) {
          if (parameter.spec.kind != kind) continue;
          result.push_back(model::weight_view(parameter, chunk.newest_weights()));
        }
      }
    }
    return result;
  }

  std::vector<at::Tensor> flat_weights() {
    std::vector<at::Tensor> result;
    for (auto& stage : stages_) result.push_back(stage.chunks().front().newest_weights());
    return result;
  }

 private:
  const config::Config& config_;
  const schedule::PipelineShape shape_;
  const std::vector<model::Unit> chain_;
  const schedule::Schedule& schedule_;
  comm::Reduction reduction_;
  std::deque<StageMonitor> monitors_;
  std::deque<ModelStage> stages_;
};

TEST(ModelStage, BothCopiesOfATiedMatrixStayTheSameBits) {
  using enum model::ParameterKind;
  for (const char* const optimizer : {"adamw", "muon"}) {
    // Under zb-v one stage holds both copies, in different chunks.
    for (const auto& [schedule, stages] : std::vector<std::pair<std::string, int>>{
             {"2bw", 2}, {"2bw", 3}, {"interleaved", 2}, {"zb-v", 2}}) {
      SCOPED_TRACE(testing::Message() << optimizer << " " << schedule << " d=" << stages);
      const auto c =
          small_config({"pipeline.stages=" + std::to_string(stages), "model.tied=true",
                        "pipeline.schedule=" + schedule, "correction.name=error_feedback",
                        std::string("optimizer.name=") + optimizer});
      Stages pipeline(c);
      const at::Tensor initial = pipeline.weights(embedding).at(0).clone();
      pipeline.run();
      const at::Tensor input = pipeline.weights(embedding).at(0);
      const at::Tensor output = pipeline.weights(head).at(0);
      EXPECT_NE(input.const_data_ptr(), output.const_data_ptr());
      EXPECT_TRUE(at::equal(input, output));
      EXPECT_FALSE(at::equal(input, initial));
    }
  }
}

TEST(ModelStage, ActivationsAndGradientsAreHandedOverWithoutACopy) {
  for (const char* const precision : {"fp32", "bf16"}) {
    for (const char* const schedule : {"2bw", "1f1b"}) {
      SCOPED_TRACE(testing::Message() << precision << " " << schedule);
      const auto c = small_config({"pipeline.stages=2", "train.steps=5",
                                   std::string("train.precision=") + precision,
                                   std::string("pipeline.schedule=") + schedule});
      HandedOver seen;
      Stages(c).run(-1, 0, &seen);
      EXPECT_EQ(seen.received, 2 * 5 * c.pipeline.micro_batches);
      EXPECT_EQ(seen.copied, 0);
    }
  }
}

TEST(ModelStage, AWrongVersionOnASingleStageIsRefusedOrShows) {
  const auto c = small_config({"pipeline.stages=2", "train.steps=8"});
  Stages correct(c);
  correct.run();
  const auto expected = correct.flat_weights();
  Stages again(c);
  again.run(0, 0);
  for (std::size_t s = 0; s < 2; ++s) EXPECT_TRUE(at::equal(again.flat_weights()[s], expected[s]));
  for (const int stage : {0, 1}) {
    for (const std::int64_t shift : {-1, 1}) {
      SCOPED_TRACE(testing::Message() << "stage " << stage << " shift " << shift);
      Stages wrong(c);
      try {
        wrong.run(stage, shift);
      } catch (const StageFailure& failure) {
        EXPECT_THROW(std::rethrow_if_nested(failure), VersionError) << failure.what();
        continue;
      }
      for (std::size_t s = 0; s < 2; ++s) {
        EXPECT_FALSE(at::equal(wrong.flat_weights()[s], expected[s]));
      }
    }
  }
}

}  // namespace
}  // namespace penstock::engine
