#include "engine/pipeline.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "engine/model_stage.h"
#include "engine/pinning.h"
#include "engine/stage_threads.h"
#include "model/partition.h"
#include "model/views.h"
#include "schedule/lowering.h"

namespace penstock::engine {

int threads_per_stage(const config::Config& config) {
  if (config.train.threads > 0) return static_cast<int>(config.train.threads);
  const auto cores = static_cast<std::int64_t>(usable_cores().size());
  return static_cast<int>(std::max<std::int64_t>(1, cores / config.pipeline.stages));
}

Pipeline::Pipeline(Setup setup)
    : config_(*setup.config),
      validation_micro_batches_(setup.validation_micro_batches),
      clocks_(static_cast<std::size_t>(config_.pipeline.stages)) {
  const bool tied = config_.model.tied;
  const auto chain = model::units(config_.model);
  const auto& schedule = schedule::find(config_.pipeline.schedule);
  reduction_ = std::make_unique<comm::Reduction>(static_cast<int>(config_.pipeline.stages),
                                                 model::parameter_numbers(chain, tied),
                                                 tied ? 0 : comm::Reduction::no_parameter);
  for (const auto range : model::partition(config_)) {
    const bool last = range.last == static_cast<std::int64_t>(chain.size());
    stages_.push_back(std::make_unique<ModelStage>(ModelStageSetup{
        .config = &config_,
        .chain = &chain,
        .range = range,
        .weight_versions = schedule.versions,
        .gradient_buffers = schedule.gradient_buffers,
        .validation_micro_batches = validation_micro_batches_,
        .source = setup.make_source(),
        .reduction = reduction_.get(),
        .report = last ? setup.report : EventSink(),
    }));
  }
}

Pipeline::~Pipeline() = default;

void Pipeline::run(comm::BatchGate& gate) {
  const int stages = static_cast<int>(stages_.size());
  const schedule::PipelineShape shape{stages, static_cast<int>(config_.pipeline.micro_batches)};
  const schedule::EvaluationPlan evaluation{config_.train.eval_every, validation_micro_batches_};
  const auto& schedule = schedule::find(config_.pipeline.schedule);

  std::vector<Stage<at::Tensor>*> workers;
  std::vector<schedule::StreamPtr> streams;
  for (int s = 0; s < stages; ++s) {
    const schedule::HasBatch has_batch = [&gate, s](std::int64_t batch) {
      return s == 0 ? gate.decide(batch) : gate.wait(batch);
    };
    auto stream = schedule.generate(s, shape, has_batch);
    stream = schedule::with_evaluation(std::move(stream), evaluation, has_batch);
    streams.push_back(schedule::with_transfers(std::move(stream), s, stages));
    workers.push_back(stages_[static_cast<std::size_t>(s)].get());
  }

  const int threads = threads_per_stage(config_);
  const auto cores = usable_cores();
  run_stage_threads<at::Tensor>(
      workers, std::move(streams), clocks_,
      [&](int stage) {
        pin_this_thread(cores_of_stage(cores, stage, stages, threads));
        at::set_num_threads(threads);
      },
      [&] {
        reduction_->close();
        gate.close();
      });
}

std::vector<NamedTensor> Pipeline::weights() const {
  std::vector<NamedTensor> result;
  for (const auto& stage : stages_) {
    const at::Tensor flat = stage->newest_weights();
    for (const auto& parameter : stage->layout().parameters) {
      const bool is_tied_copy =
          config_.model.tied && parameter.spec.kind == model::ParameterKind::head;
      if (is_tied_copy) continue;
      result.push_back({parameter.spec.name, model::weight_view(parameter, flat)});
    }
  }
  return result;
}

}  // namespace penstock::engine
