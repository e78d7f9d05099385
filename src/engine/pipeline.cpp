#include "engine/pipeline.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "delay/registry.h"
#include "engine/device.h"
#include "engine/model_stage.h"
#include "engine/pinning.h"
#include "engine/stage_threads.h"
#include "engine/state_parts.h"
#include "engine/watchdog.h"
#include "model/views.h"
#include "schedule/cut.h"
#include "schedule/grid_file.h"
#include "schedule/lowering.h"
#include "schedule/sync_phases.h"
#include "schedule/validate.h"

namespace penstock::engine {

namespace {

schedule::Schedule with_phases(schedule::Schedule delayed, const config::Config& config) {
  const std::int64_t last = config.pipeline.final_sync_steps;
  return schedule::with_sync_phases(std::move(delayed), config.pipeline.sync_steps,
                                    last == 0 ? schedule::no_final_phase : config.updates() - last);
}

void require_cuts(const std::string& complaint, const config::Config& config) {
  if (complaint.empty()) return;
  throw user_error(
      "config",
      "output.save_every = {}, but the state of schedule '{}' cannot be saved while it "
      "runs: {}; set output.save_every = 0",
      config.output.save_every, config.pipeline.schedule, complaint);
}

void require_recomputable(const schedule::Schedule& schedule, const config::Config& config) {
  if (schedule.stashes_weights || config.pipeline.recompute == config::Recompute::none) return;
  throw user_error(
      "config",
      "schedule '{}' reads newer weights in the backward than in the forward, which "
      "therefore cannot be computed again, but pipeline.recompute is not \"none\"; set "
      "pipeline.recompute = \"none\"",
      config.pipeline.schedule);
}

comm::Reduction::Exchange exchange(const Pipeline::Setup& setup, std::size_t tied_parameter) {
  if (!setup.ranks) return setup.exchange;
  auto between_ranks = setup.ranks->exchange(tied_parameter);
  if (!setup.exchange) return between_ranks;
  return [first = setup.exchange, then = std::move(between_ranks)](std::int64_t batch,
                                                                   comm::MergedShares& shares) {
    first(batch, shares);
    then(batch, shares);
  };
}

/// Some corrections look once more at the weights that a gradient was taken at, right before these
/// are overwritten.
int versions_kept(const config::Config& config, const schedule::StageLimits& limits) {
  if (!delay::make(config.correction)->changes_gradient()) return limits.versions;
  return std::max(limits.versions, limits.most_delay + 1);
}

}  // namespace

schedule::Schedule proved_schedule(const config::Config& config) {
  auto schedule = schedule::load(config.pipeline.schedule);
  const auto shape = shape_of(config);
  const bool saves = config.output.save_every > 0;
  require_recomputable(schedule, config);
  if (config.pipeline.sync_steps == 0 && config.pipeline.final_sync_steps == 0) {
    schedule::require_valid(schedule, shape);
    if (saves) require_cuts(schedule::complaint_about_cuts(schedule, shape), config);
    return schedule;
  }
  schedule::require_valid_sync_phases(schedule, shape);
  if (saves) {
    require_cuts(schedule::complaint_about_cuts_with_sync_phases(schedule, shape), config);
  }
  return with_phases(std::move(schedule), config);
}

int threads_per_stage(const config::Config& config, int stages_on_host) {
  if (config.train.threads > 0) return static_cast<int>(config.train.threads);
  return std::max(1, static_cast<int>(usable_cores().size()) / stages_on_host);
}

int threads_per_stage(const config::Config& config) {
  return threads_per_stage(config, static_cast<int>(config.pipeline.stages));
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

comm::BatchGate::Setup gate_setup(const config::Config& config, const schedule::Schedule& schedule,
                                  std::int64_t cut) {
  comm::BatchGate::Setup setup{.batches = config.updates(), .first = cut};
  if (config.output.save_every > 0) {
    setup.begun_at = [begun_at = schedule.begun_at, shape = shape_of(config)](
                         std::int64_t version) { return begun_at(version, shape); };
  }
  return setup;
}

Pipeline::Pipeline(Setup setup)
    : config_(*setup.config),
      schedule_(std::move(setup.schedule)),
      shape_(shape_of(config_)),
      ranks_(setup.ranks),
      here_(ranks_ ? ranks_->stages_here() : Ranks::Share{0, shape_.stages}),
      on_host_(ranks_ ? ranks_->stages_on_host() : here_),
      validation_micro_batches_(setup.validation_micro_batches),
      report_(ranks_ ? ranks_->sink(std::move(setup.report)) : std::move(setup.report)),
      trace_(setup.trace),
      profile_(setup.profile),
      before_action_(std::move(setup.before_action)),
      warn_(std::move(setup.warn)),
      on_failure_(std::move(setup.on_failure)),
      device_(usable_device(config_.train.device)),
      cut_(setup.restore.empty() ? 0 : setup.restore.front().cut),
      edges_(std::make_unique<Edges<at::Tensor>>(shape_, schedule_.placement)),
      monitors_(static_cast<std::size_t>(here_.count)) {
  preload(setup.restore);
  make_reduction(setup);
  make_stages(setup);
}

Pipeline::~Pipeline() = default;

void Pipeline::preload(const std::vector<StageState>& states) {
  for (const auto& state : states) {
    if (!here_.has(state.stage)) continue;
    const auto links = edges_->links_of(state.stage);
    for (const auto& [receive, sent_version, payload] : messages_in_transit(state)) {
      const auto& link = links.at(static_cast<std::size_t>(receive.chunk));
      auto* edge = receive.kind == schedule::ActionKind::receive_activation ? link.activations_in
                                                                            : link.gradients_in;
      schedule::Action origin = receive;
      origin.version = sent_version;
      edge->preload({origin, cut_, std::chrono::steady_clock::now(), payload.to(device_)});
    }
  }
}

void Pipeline::make_reduction(const Setup& setup) {
  const bool tied = config_.model.tied;
  const auto chain = model::units(config_.model);
  std::int64_t first_batch = cut_;
  for (const auto& state : setup.restore) {
    const auto batches = batches_of_shares(state);
    if (!batches.empty()) first_batch = std::min(first_batch, batches.front());
  }
  const std::size_t tied_parameter = tied ? 0 : comm::Reduction::no_parameter;
  reduction_ = std::make_unique<comm::Reduction>(
      comm::Reduction::Setup{.stages = here_.count,
                             .parameters = model::parameter_numbers(chain, tied),
                             .tied_parameter = tied_parameter,
                             .overlap = schedule_.reductions(shape_),
                             .first_batch = first_batch,
                             .exchange = exchange(setup, tied_parameter)});
}

void Pipeline::make_stages(Setup& setup) {
  const auto chain = model::units(config_.model);
  const auto ranges = model::partition(config_);
  for (int s = here_.first; s < here_.first + here_.count; ++s) {
    const auto limits = schedule_.limits(s, shape_);
    ModelStageSetup stage{.number = s,
                          .config = &config_,
                          .chain = &chain,
                          .chunks = {},
                          .weight_versions = versions_kept(config_, limits),
                          .gradient_buffers = limits.gradient_buffers,
                          .stashes_weights = schedule_.stashes_weights,
                          .updates_together = schedule_.updates_together,
                          .device = device_,
                          .validation_micro_batches = validation_micro_batches_,
                          .source = setup.make_source(),
                          .reduction = reduction_.get(),
                          .monitor = &monitors_[stages_.size()],
                          .report = report_,
                          .restore = {}};
    if (!setup.restore.empty()) {
      stage.restore = std::move(*std::ranges::find(setup.restore, s, &StageState::stage));
    }
    for (int chunk = 0; chunk < shape_.chunks; ++chunk) {
      const int piece = schedule::piece_at(schedule_.placement, shape_, {s, chunk});
      stage.chunks.push_back(ranges[static_cast<std::size_t>(piece)]);
    }
    stages_.push_back(std::make_unique<ModelStage>(std::move(stage)));
  }
}

schedule::ActionStream Pipeline::stream_of(int stage, comm::BatchGate& gate) const {
  const std::int64_t save_every = config_.output.save_every;
  return schedule::stage_stream(
      schedule_, stage, shape_,
      {.evaluation = {config_.train.eval_every, validation_micro_batches_},
       .capture_due =
           [&gate, save_every](std::int64_t version) {
             return save_every > 0 && (version % save_every == 0 || gate.is_stop_cut(version));
           },
       .cut = cut_,
       .has_batch =
           [&gate, stage](std::int64_t batch) {
             return stage == 0 ? gate.decide(batch) : gate.wait(batch);
           }});
}

Watchdog::Setup Pipeline::watchdog_setup() const {
  Watchdog::Setup setup;
  setup.limit = std::chrono::duration<double>(warn_ ? config_.train.watchdog : 0);
  setup.report = warn_;
  setup.surroundings = [this] { return edges_->waiting_messages() + reduction_->state_text(); };
  for (const auto& monitor : monitors_) {
    setup.stages.push_back({here_.first + static_cast<int>(setup.stages.size()), &monitor});
  }
  return setup;
}

void Pipeline::run(comm::BatchGate& gate) {
  const int threads = threads_per_stage(config_, on_host_.count);
  const auto usable = usable_cores();
  // Rounded up: the last place may lack a core, which is better than one that stands idle.
  const int places_on_host = (static_cast<int>(usable.size()) + threads - 1) / threads;
  const int places = std::max(1, places_on_host * here_.count / on_host_.count);
  CoreTokens cores(places);
  std::deque<SpanRecorder> recorders;
  std::deque<StageProfiler> profilers(static_cast<std::size_t>(here_.count));
  StageThreads<at::Tensor> run;
  run.edges = edges_.get();
  run.rank = ranks_ ? ranks_->rank() : 0;
  run.first_stage = here_.first;
  run.same_versions = schedule_.updates_together;
  run.cut = cut_;
  run.monitors = &monitors_;
  run.cores = here_.count > places ? &cores : nullptr;
  run.before_action = before_action_;
  for (int s = here_.first; s < here_.first + here_.count; ++s) {
    run.stages.push_back(&stage_at(s));
    run.streams.push_back(stream_of(s, gate));
    recorders.emplace_back([this, s](std::vector<timeline::Span> spans) {
      report_(SpansEvent{s, std::move(spans)});
    });
  }
  if (trace_) run.recorders = &recorders;
  if (profile_) run.profilers = &profilers;
  run.on_thread = [&](int stage) {
    pin_this_thread(cores_of_stage(usable, stage - on_host_.first, on_host_.count, threads));
    at::set_num_threads(threads);
  };
  run.close = [&] {
    if (on_failure_) on_failure_();
    reduction_->close();
    gate.close();
  };
  run.start = begin(run, gate);
  std::exception_ptr failure;
  try {
    const Watchdog watchdog(watchdog_setup());
    run_stage_threads(std::move(run));
    report_profiles(profilers);
  } catch (...) {
    failure = std::current_exception();
  }
  end(failure);
}

Ranks::Time Pipeline::begin(const StageThreads<at::Tensor>& run, comm::BatchGate& gate) {
  if (!ranks_) return std::chrono::steady_clock::now();
  return ranks_->begin({.edges = edges_.get(),
                        .shape = shape_,
                        .placement = schedule_.placement,
                        .gate = &gate,
                        .close = [this, cores = run.cores, close = run.close] {
                          edges_->close();
                          if (cores) cores->close();
                          close();
                        }});
}

void Pipeline::report_profiles(const std::deque<StageProfiler>& profilers) const {
  int stage = here_.first;
  for (const auto& profiler : profilers) {
    if (auto profile = profiler.result(stage++)) report_(ProfileEvent{std::move(*profile)});
  }
}

void Pipeline::end(std::exception_ptr failure) {
  if (!ranks_ && failure) std::rethrow_exception(failure);
  if (!ranks_) return;
  try {
    if (!failure) give_weights();
  } catch (...) {
    failure = std::current_exception();
  }
  ranks_->end(failure);
}

void Pipeline::give_weights() {
  for (int piece = 0; piece < shape_.pieces(); ++piece) {
    const auto place = schedule::place_of(schedule_.placement, shape_, piece);
    if (here_.has(place.stage)) ranks_->give_weights(piece, weights_of(piece));
  }
}

ModelStage& Pipeline::stage_at(int number) const {
  return *stages_.at(static_cast<std::size_t>(number - here_.first));
}

std::vector<NamedTensor> Pipeline::weights() const {
  std::vector<NamedTensor> result;
  const bool gets_all = ranks_ && ranks_->rank() == 0;
  for (int piece = 0; piece < shape_.pieces(); ++piece) {
    const bool is_here = here_.has(schedule::place_of(schedule_.placement, shape_, piece).stage);
    if (!is_here && !gets_all) continue;
    for (auto& weight : is_here ? weights_of(piece) : ranks_->weights_of(piece)) {
      result.push_back(std::move(weight));
    }
  }
  return result;
}

std::vector<NamedTensor> Pipeline::weights_of(int piece) const {
  const auto [stage, number] = schedule::place_of(schedule_.placement, shape_, piece);
  auto& chunk = stage_at(stage).chunks().at(static_cast<std::size_t>(number));
  const at::Tensor flat = chunk.newest_weights().cpu();
  std::vector<NamedTensor> result;
  for (const auto& parameter : chunk.layout().parameters) {
    const bool is_tied_copy =
        config_.model.tied && parameter.spec.kind == model::ParameterKind::head;
    if (is_tied_copy) continue;
    result.push_back({parameter.spec.name, model::weight_view(parameter, flat)});
  }
  return result;
}

}  // namespace penstock::engine
