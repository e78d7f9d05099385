#include "engine/pipeline.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "engine/model_stage.h"
#include "engine/pinning.h"
#include "engine/stage_threads.h"
#include "model/views.h"
#include "schedule/grid_file.h"
#include "schedule/lowering.h"
#include "schedule/validate.h"

namespace penstock::engine {

schedule::Schedule proved_schedule(const config::Config& config) {
  auto schedule = schedule::load(config.pipeline.schedule);
  schedule::require_valid(schedule, shape_of(config));
  return schedule;
}

int threads_per_stage(const config::Config& config) {
  if (config.train.threads > 0) return static_cast<int>(config.train.threads);
  const auto cores = static_cast<std::int64_t>(usable_cores().size());
  return static_cast<int>(std::max<std::int64_t>(1, cores / config.pipeline.stages));
}

schedule::PipelineShape shape_of(const config::Config& config) {
  return {static_cast<int>(config.pipeline.stages), static_cast<int>(config.pipeline.micro_batches),
          static_cast<int>(config.pipeline.chunks)};
}

std::vector<model::Piece> pieces(const config::Config& config, const schedule::Schedule& schedule) {
  std::vector<model::Piece> result;
  for (const auto range : model::partition(config)) {
    const int number = static_cast<int>(result.size());
    const auto place = schedule::place_of(schedule.placement, shape_of(config), number);
    result.push_back({range, place.stage});
  }
  return result;
}

Pipeline::Pipeline(Setup setup)
    : config_(*setup.config),
      schedule_(std::move(setup.schedule)),
      shape_(shape_of(config_)),
      validation_micro_batches_(setup.validation_micro_batches),
      report_(std::move(setup.report)),
      trace_(setup.trace),
      clocks_(static_cast<std::size_t>(shape_.stages)) {
  const bool tied = config_.model.tied;
  const auto chain = model::units(config_.model);
  reduction_ = std::make_unique<comm::Reduction>(
      comm::Reduction::Setup{.stages = shape_.stages,
                             .parameters = model::parameter_numbers(chain, tied),
                             .tied_parameter = tied ? 0 : comm::Reduction::no_parameter,
                             .overlap = schedule_.reductions(shape_)});
  const auto ranges = model::partition(config_);
  for (int s = 0; s < shape_.stages; ++s) {
    const auto limits = schedule_.limits(s, shape_);
    ModelStageSetup stage{.config = &config_,
                          .chain = &chain,
                          .chunks = {},
                          .weight_versions = limits.versions,
                          .gradient_buffers = limits.gradient_buffers,
                          .stashes_weights = schedule_.stashes_weights,
                          .updates_together = schedule_.updates_together,
                          .validation_micro_batches = validation_micro_batches_,
                          .source = setup.make_source(),
                          .reduction = reduction_.get(),
                          .report = report_};
    for (int chunk = 0; chunk < shape_.chunks; ++chunk) {
      const int piece = schedule::piece_at(schedule_.placement, shape_, {s, chunk});
      stage.chunks.push_back(ranges[static_cast<std::size_t>(piece)]);
    }
    stages_.push_back(std::make_unique<ModelStage>(std::move(stage)));
  }
}

Pipeline::~Pipeline() = default;

schedule::ActionStream Pipeline::stream_of(int stage, comm::BatchGate& gate) const {
  const schedule::HasBatch has_batch = [&gate, stage](std::int64_t batch) {
    return stage == 0 ? gate.decide(batch) : gate.wait(batch);
  };
  const schedule::EvaluationPlan evaluation{config_.train.eval_every, validation_micro_batches_};
  auto stream = schedule_.generate(stage, shape_, has_batch);
  stream = schedule::with_evaluation(std::move(stream), evaluation, shape_, has_batch);
  return schedule::with_transfers(std::move(stream), stage, shape_, schedule_.placement);
}

void Pipeline::run(comm::BatchGate& gate) {
  const auto start = std::chrono::steady_clock::now();
  const int threads = threads_per_stage(config_);
  const auto cores = usable_cores();
  std::deque<SpanRecorder> recorders;
  StageThreads<at::Tensor> run{.stages = {},
                               .streams = {},
                               .shape = shape_,
                               .placement = schedule_.placement,
                               .same_versions = schedule_.updates_together,
                               .clocks = &clocks_};
  for (int s = 0; s < shape_.stages; ++s) {
    run.stages.push_back(stages_[static_cast<std::size_t>(s)].get());
    run.streams.push_back(stream_of(s, gate));
    recorders.emplace_back(start, [this, s](std::vector<timeline::Span> spans) {
      report_(SpansEvent{s, std::move(spans)});
    });
  }
  if (trace_) run.recorders = &recorders;
  run.on_thread = [&](int stage) {
    pin_this_thread(cores_of_stage(cores, stage, shape_.stages, threads));
    at::set_num_threads(threads);
  };
  run.close = [&] {
    reduction_->close();
    gate.close();
  };
  run_stage_threads(std::move(run));
}

std::vector<NamedTensor> Pipeline::weights() const {
  std::vector<NamedTensor> result;
  for (int piece = 0; piece < shape_.pieces(); ++piece) {
    const auto [stage, number] = schedule::place_of(schedule_.placement, shape_, piece);
    auto& chunk =
        stages_[static_cast<std::size_t>(stage)]->chunks().at(static_cast<std::size_t>(number));
    const at::Tensor flat = chunk.newest_weights();
    for (const auto& parameter : chunk.layout().parameters) {
      const bool is_tied_copy =
          config_.model.tied && parameter.spec.kind == model::ParameterKind::head;
      if (is_tied_copy) continue;
      result.push_back({parameter.spec.name, model::weight_view(parameter, flat)});
    }
  }
  return result;
}

}  // namespace penstock::engine
