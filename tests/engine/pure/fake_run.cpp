#include "engine/pure/fake_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <ostream>
#include <stdexcept>

#include "comm/batch_gate.h"
#include "engine/core_tokens.h"
#include "engine/stage_threads.h"

namespace penstock::tests {
namespace {

using engine::StageThreads;

/// Everything that lives as long as one run by the engine.
class EngineRun {
 public:
  EngineRun(const FakeRun& run, const RunOptions& options)
      : run_(run),
        options_(options),
        model_(run.model()),
        schedule_(run.make_schedule()),
        cut_(options.restore == nullptr ? 0 : options.restore->front().cut),
        gate_(gate_setup()),
        reduction_(reduction_setup()),
        edges_(run.shape, schedule_.placement),
        monitors_(static_cast<std::size_t>(run.shape.stages)) {
    for (int s = 0; s < run.shape.stages; ++s) add_stage(s);
    if (options.restore == nullptr) return;
    for (const FakeState& state : *options.restore) preload(state);
  }

  void run() {
    std::optional<engine::CoreTokens> cores;
    if (options_.cores > 0) cores.emplace(options_.cores);
    StageThreads<Payload> threads;
    for (int s = 0; s < run_.shape.stages; ++s) {
      threads.stages.push_back(&stages_[static_cast<std::size_t>(s)]);
      threads.streams.push_back(stream_of(s));
    }
    threads.edges = &edges_;
    threads.rank = options_.rank;
    threads.same_versions = schedule_.updates_together;
    threads.cut = cut_;
    threads.start = std::chrono::steady_clock::now();
    threads.monitors = options_.monitors == nullptr ? &monitors_ : options_.monitors;
    threads.recorders = options_.recorders;
    threads.profilers = options_.profilers;
    threads.cores = cores ? &*cores : nullptr;
    threads.before_action = options_.before_action;
    threads.on_thread = options_.on_thread;
    threads.close = [this] {
      reduction_.close();
      gate_.close();
    };
    engine::run_stage_threads(std::move(threads));
  }

  FakeResult result() {
    FakeResult result;
    result.weights.layers.clear();
    const int pieces = run_.shape.pieces();
    for (int p = 0; p < pieces; ++p) {
      const auto [stage, chunk] = schedule::place_of(schedule_.placement, run_.shape, p);
      const auto& weights = stages_[static_cast<std::size_t>(stage)]
                                .chunks()
                                .at(static_cast<std::size_t>(chunk))
                                .newest();
      result.weights.layers.insert(result.weights.layers.end(), weights.layers.begin(),
                                   weights.layers.end());
      if (p == 0) result.weights.tied_input = weights.tied_input;
      if (p + 1 == pieces) result.weights.tied_output = weights.tied_output;
    }
    result.sums = stages_.front().counters().sums;
    for (const auto& stage : stages_) {
      if (stage.counters().sums != result.sums) {
        throw std::logic_error("the stages have collected different sums");
      }
      result.skipped.push_back(stage.counters().skipped);
      if (!stage.evaluations().empty()) result.evaluations = stage.evaluations();
    }
    return result;
  }

 private:
  comm::BatchGate::Setup gate_setup() const {
    comm::BatchGate::Setup setup{.batches = run_.batches, .first = cut_};
    if (options_.capture_due) {
      setup.begun_at = [this](std::int64_t version) {
        return schedule_.begun_at(version, run_.shape);
      };
    }
    return setup;
  }

  comm::Reduction::Setup reduction_setup() const {
    const bool tied = schedule_.updates_together;
    std::int64_t first_batch = cut_;
    if (options_.restore != nullptr) {
      for (const FakeState& state : *options_.restore) {
        if (!state.shares.empty()) first_batch = std::min(first_batch, state.shares.begin()->first);
      }
    }
    return {.stages = run_.shape.stages,
            .parameters = static_cast<std::size_t>(model_.layers) + 1,
            .tied_parameter = tied ? 0 : comm::Reduction::no_parameter,
            .overlap = schedule_.reductions(run_.shape),
            .first_batch = first_batch,
            .exchange = options_.exchange};
  }

  void add_stage(int number) {
    FakeStage::Setup setup;
    setup.number = number;
    setup.shape = run_.shape;
    setup.schedule = &schedule_;
    setup.model = &model_;
    setup.reduction = &reduction_;
    setup.captured = [this](FakeState state) { keep(std::move(state)); };
    if (options_.restore != nullptr) {
      setup.restore = &options_.restore->at(static_cast<std::size_t>(number));
    }
    setup.in_action = options_.in_action;
    setup.in_start = options_.in_start;
    setup.in_finish = options_.in_finish;
    stages_.emplace_back(std::move(setup));
  }

  void keep(FakeState state) {
    const std::lock_guard lock(mutex_);
    if (options_.captures == nullptr) return;
    auto& states = (*options_.captures)[state.cut];
    states.resize(static_cast<std::size_t>(run_.shape.stages));
    auto& place = states[static_cast<std::size_t>(state.stage)];
    place = std::move(state);
  }

  void preload(const FakeState& state) {
    const auto links = edges_.links_of(state.stage);
    for (const auto& [receive, sent_version, payload] : state.in_transit) {
      const auto& link = links.at(static_cast<std::size_t>(receive.chunk));
      auto* edge = receive.kind == schedule::ActionKind::receive_activation ? link.activations_in
                                                                            : link.gradients_in;
      schedule::Action origin = receive;
      origin.version = sent_version;
      edge->preload({origin, cut_, std::chrono::steady_clock::now(), payload});
    }
  }

  schedule::ActionStream stream_of(int stage) {
    schedule::StreamPlan plan;
    plan.evaluation = run_.evaluation;
    plan.cut = cut_;
    if (options_.capture_due) {
      plan.capture_due = [this](std::int64_t version) {
        return options_.capture_due(version) || gate_.is_stop_cut(version);
      };
    }
    plan.has_batch = [this, stage](std::int64_t batch) {
      if (stage > 0) return gate_.wait(batch);
      if (batch == options_.stop_at) gate_.request_stop();
      return gate_.decide(batch);
    };
    schedule::Schedule schedule = schedule_;
    if (options_.change_compute) {
      schedule.generate = [this](int number, schedule::PipelineShape shape,
                                 schedule::HasBatch has_batch) {
        return options_.change_compute(number,
                                       schedule_.generate(number, shape, std::move(has_batch)));
      };
    }
    auto stream = schedule::stage_stream(schedule, stage, run_.shape, std::move(plan));
    if (!options_.change_stream) return stream;
    return options_.change_stream(stage, std::move(stream));
  }

  const FakeRun& run_;
  const RunOptions& options_;
  const FakeModel model_;
  const schedule::Schedule schedule_;
  const std::int64_t cut_;
  comm::BatchGate gate_;
  comm::Reduction reduction_;
  engine::Edges<Payload> edges_;
  std::deque<engine::StageMonitor> monitors_;
  std::deque<FakeStage> stages_;
  std::mutex mutex_;  // of the captures
};

}  // namespace

FakeModel FakeRun::model() const {
  const int pieces = shape.pieces();
  return {.layers = layers > 0 ? layers : pieces + pieces / 2, .poisons = poisons};
}

schedule::Schedule FakeRun::make_schedule() const {
  auto result = schedule::find(schedule);
  if (sync == 0 && final_begin == schedule::no_final_phase) return result;
  return schedule::with_sync_phases(std::move(result), sync, final_begin);
}

std::string text(const FakeRun& run) {
  auto result = fmt::format("{} d={} m={} v={}", run.schedule, run.shape.stages,
                            run.shape.micro_batches, run.shape.chunks);
  if (run.sync > 0) result += fmt::format(" without delay up to batch {}", run.sync);
  if (run.final_begin != schedule::no_final_phase) {
    result += fmt::format(" without delay from batch {} on", run.final_begin);
  }
  return result;
}

std::ostream& operator<<(std::ostream& out, const FakeResult& result) {
  out << "sums " << result.sums << ", layers";
  for (const Payload weight : result.weights.layers) out << " " << weight;
  out << ", tied " << result.weights.tied_input << " " << result.weights.tied_output;
  for (std::size_t s = 0; s < result.skipped.size(); ++s) {
    for (const auto batch : result.skipped[s]) out << ", stage " << s << " skips " << batch;
  }
  out << ", evaluations";
  for (const auto& [version, output] : result.evaluations) out << " " << version << ":" << output;
  return out;
}

FakeResult run_fake(const FakeRun& run, const RunOptions& options) {
  EngineRun engine_run(run, options);
  engine_run.run();
  return engine_run.result();
}

CapturedRun run_captured(const FakeRun& run, RunOptions options) {
  CapturedRun captured;
  if (!options.capture_due) options.capture_due = [](std::int64_t) { return true; };
  options.captures = &captured.captures;
  captured.result = run_fake(run, options);
  return captured;
}

}  // namespace penstock::tests
