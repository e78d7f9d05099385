#include "engine/model_stage.h"

#include <gtest/gtest.h>

#include "engine/stage_threads.h"
#include "engine/wrong_version.h"
#include "model/partition.h"
#include "model/views.h"
#include "schedule/lowering.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::small_config;

/// The stages that engine::Pipeline makes, within reach, for a run whose end is known before.
class Stages {
 public:
  explicit Stages(const config::Config& config)
      : config_(config),
        chain_(model::units(config.model)),
        schedule_(schedule::find(config.pipeline.schedule)),
        reduction_(count(), model::parameter_numbers(chain_, config.model.tied),
                   config.model.tied ? 0 : comm::Reduction::no_parameter) {
    for (const auto range : model::partition(config)) {
      stages_.emplace_back(ModelStageSetup{.config = &config_,
                                           .chain = &chain_,
                                           .range = range,
                                           .weight_versions = schedule_.versions,
                                           .gradient_buffers = schedule_.gradient_buffers,
                                           .source = tests::random_tokens(config)(),
                                           .reduction = &reduction_,
                                           .report = {}});
    }
  }

  /// Stage `wrong_stage`, if any, reads other versions in batch 4 than the schedule says.
  void run(int wrong_stage = -1, std::int64_t shift = 0) {
    std::vector<Stage<at::Tensor>*> workers;
    std::vector<schedule::StreamPtr> streams;
    const schedule::PipelineShape shape{count(), static_cast<int>(config_.pipeline.micro_batches)};
    const auto updates = config_.updates();
    for (int s = 0; s < count(); ++s) {
      auto stream = schedule_.generate(s, shape, [=](auto batch) { return batch < updates; });
      // Outside of the transfers, so that the neighbours are told nothing of the mistake.
      stream = schedule::with_transfers(std::move(stream), s, count());
      if (s == wrong_stage) {
        stream = std::make_unique<tests::WrongVersion>(std::move(stream), 4, shift);
      }
      streams.push_back(std::move(stream));
      workers.push_back(&stages_[static_cast<std::size_t>(s)]);
    }
    std::deque<StageClock> clocks(stages_.size());
    run_stage_threads<at::Tensor>(
        workers, std::move(streams), clocks, [](int) {}, [&] { reduction_.close(); });
  }

  /// The newest weights of one kind, over all stages.
  std::vector<at::Tensor> weights(model::ParameterKind kind) {
    std::vector<at::Tensor> result;
    for (auto& stage : stages_) {
      for (const auto& parameter : stage.layout().parameters) {
        if (parameter.spec.kind != kind) continue;
        result.push_back(model::weight_view(parameter, stage.newest_weights()));
      }
    }
    return result;
  }

  std::vector<at::Tensor> flat_weights() {
    std::vector<at::Tensor> result;
    for (auto& stage : stages_) result.push_back(stage.newest_weights());
    return result;
  }

 private:
  int count() const { return static_cast<int>(config_.pipeline.stages); }

  const config::Config& config_;
  const std::vector<model::Unit> chain_;
  const schedule::Schedule& schedule_;
  comm::Reduction reduction_;
  std::deque<ModelStage> stages_;
};

TEST(ModelStage, BothCopiesOfATiedMatrixStayTheSameBits) {
  using enum model::ParameterKind;
  for (const char* const optimizer : {"adamw", "muon"}) {
    for (const int stages : {2, 3}) {
      SCOPED_TRACE(testing::Message() << optimizer << " d=" << stages);
      const auto c = small_config({"pipeline.stages=" + std::to_string(stages), "model.tied=true",
                                   "correction.name=error_feedback",
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
