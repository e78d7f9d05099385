#include "support/engine_run.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <span>
#include <utility>
#include <variant>

#include "base/random.h"
#include "base/sum_of_squares.h"
#include "checkpoint/weights_hash.h"
#include "comm/batch_gate.h"
#include "engine/pipeline.h"
#include "engine/stage_updater.h"
#include "model/initialize.h"
#include "model/stage_model.h"
#include "model/views.h"
#include "train/catalogue.h"

namespace penstock::tests {
namespace {

class RandomTokens final : public engine::MicroBatchSource {
 public:
  RandomTokens(const config::Config& config, std::int64_t distinct_batches)
      : config_(config), distinct_batches_(distinct_batches) {}

  model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) override {
    if (distinct_batches_ > 0) batch %= distinct_batches_;
    return make("training", batch * config_.pipeline.micro_batches + micro_batch);
  }
  model::MicroBatch validation(std::int64_t micro_batch) override {
    return make("validation", micro_batch);
  }

 private:
  at::Tensor tokens(std::string_view name, std::int64_t position) const {
    const std::int64_t count = config_.pipeline.micro_batch * config_.model.seq;
    at::Tensor ids = at::empty({count}, at::kLong);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto counter = static_cast<std::uint64_t>(position * count + i);
      const auto uniform = random_uniform(random_key(7, name), counter);
      ids[i] = static_cast<std::int64_t>(uniform * static_cast<double>(config_.model.vocab));
    }
    return ids;
  }

  model::MicroBatch make(const std::string& name, std::int64_t position) const {
    return {.inputs = tokens(name + " inputs", position),
            .targets = tokens(name + " targets", position),
            .sequences = config_.pipeline.micro_batch,
            .gradient_scale = 1.0 / static_cast<double>(config_.tokens_per_update())};
  }

  const config::Config& config_;
  const std::int64_t distinct_batches_;
};

class PoisonedSource final : public engine::MicroBatchSource {
 public:
  PoisonedSource(std::unique_ptr<MicroBatchSource> source, const std::set<Place>& places)
      : source_(std::move(source)), places_(places) {}

  model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) override {
    auto result = source_->training(batch, micro_batch);
    if (places_.contains({batch, micro_batch})) result.gradient_scale = std::nan("");
    return result;
  }
  model::MicroBatch validation(std::int64_t micro_batch) override {
    return source_->validation(micro_batch);
  }

 private:
  const std::unique_ptr<MicroBatchSource> source_;
  const std::set<Place> places_;
};

/// The plain loop's state: one stage that is the whole model, every version kept.
struct PlainModel {
  const config::Config& config;
  std::vector<model::Unit> chain = model::units(config.model);
  model::UnitRange all{0, static_cast<std::int64_t>(chain.size())};
  model::Layout layout = model::layout(chain, all, config.model.tied);
  model::StageModel model{config.model, chain, all};
  std::vector<at::Tensor> versions;

  explicit PlainModel(const config::Config& c) : config(c) {
    versions.push_back(at::zeros({layout.weight_count}));
    model::initialize_weights(layout, config.model, static_cast<std::uint64_t>(config.train.seed),
                              versions[0]);
  }

  at::Tensor compute_copy(std::size_t version) const {
    const bool bf16 = config.train.precision == config::Precision::bf16;
    return bf16 ? versions[version].to(at::kBFloat16) : versions[version];
  }

  /// Adds the gradient of a tied head to the embedding's; both then hold the sum.
  void tie(const at::Tensor& gradients) const {
    if (!config.model.tied) return;
    at::Tensor embedding = model::gradient_view(layout.parameters.front(), gradients);
    at::Tensor head = model::gradient_view(layout.parameters.back(), gradients);
    embedding.add_(head);
    head.copy_(embedding);
  }

  double norm(const at::Tensor& gradients) const {
    double sum = 0;
    for (const auto& parameter : layout.parameters) {
      if (!parameter.updated) continue;
      const at::Tensor g = model::gradient_view(parameter, gradients);
      sum += sum_of_squares({g.const_data_ptr<float>(), static_cast<std::size_t>(g.numel())});
    }
    return std::sqrt(sum);
  }
};

/// One stage's part of the model, every version kept.
struct PlainStage {
  model::Layout layout;
  model::StageModel model;
  std::vector<at::Tensor> versions;
  at::Tensor gradients;
  engine::StageUpdater updater;
  model::StageModel::Tape tape;
  at::Tensor input;

  PlainStage(const config::Config& config, const std::vector<model::Unit>& chain,
             model::UnitRange range)
      : layout(model::layout(chain, range, config.model.tied)),
        model(config.model, chain, range),
        versions{initial(config, layout)},
        gradients(at::zeros({layout.gradient_count})),
        updater(config, layout, versions[0]) {}

  static at::Tensor initial(const config::Config& config, const model::Layout& layout) {
    at::Tensor weights = at::zeros({layout.weight_count});
    model::initialize_weights(layout, config.model, static_cast<std::uint64_t>(config.train.seed),
                              weights);
    return weights;
  }
  model::StageTensors weights(std::int64_t version) const {
    return model::weight_views(layout, versions.at(static_cast<std::size_t>(version)));
  }
  void update(std::int64_t batch, std::int64_t delay) {
    at::Tensor next = at::zeros_like(versions.back());
    const auto seen = static_cast<std::size_t>(batch - delay);
    updater.apply(batch, {.values = gradients, .delay = delay, .seen = versions.at(seen)},
                  {versions.back(), next});
    versions.push_back(next);
    gradients.zero_();
  }
};

/// Takes the events of all threads.
class EventCollector {
 public:
  explicit EventCollector(std::size_t stages) { result_.stage_events.resize(stages); }

  void add(engine::Event event) {
    const std::lock_guard lock(mutex_);
    std::visit([this](auto& e) { take(e); }, event);
  }
  RunResult take() { return std::move(result_); }

 private:
  void take(const engine::UpdateEvent& update) {
    result_.losses.push_back(update.loss);
    result_.norms.push_back(update.gradient_norm);
    if (update.skipped) result_.skipped.push_back(update.batch);
  }
  void take(const engine::StageEvent& stage) {
    result_.stage_events.at(static_cast<std::size_t>(stage.stage)).push_back(stage);
  }
  void take(const engine::EvaluationEvent& evaluation) {
    result_.evaluations.push_back(evaluation);
  }
  void take(const engine::SpansEvent&) {}
  void take(const engine::ProfileEvent&) {}
  void take(engine::CaptureEvent& capture) {
    auto& states = result_.captures[capture.state.cut];
    states.resize(result_.stage_events.size());
    const auto stage = static_cast<std::size_t>(capture.state.stage);
    states.at(stage) = std::move(capture.state);
  }

  std::mutex mutex_;
  RunResult result_;
};

}  // namespace

config::Config small_config(const std::vector<std::string>& overrides) {
  return config::parse(R"(
    [model]
    layers = 2
    width = 32
    heads = 4
    kv_heads = 2
    ff = 48
    vocab = 67
    seq = 16
    [data]
    train = "unused"
    tokenizer = "unused.json"
    [pipeline]
    schedule = "2bw"
    micro_batches = 4
    micro_batch = 2
    [optimizer]
    name = "adamw"
    lr = 1e-2
    [train]
    steps = 24
    warmup = 5
    clip = 0.5
    threads = 1
  )",
                       "small_config", overrides, train::catalogue());
}

std::string RunResult::hash() const { return checkpoint::weights_hash(weights); }

engine::SourceFactory poisoned(engine::SourceFactory source, std::set<Place> places) {
  return [source = std::move(source), places = std::move(places)] {
    return std::make_unique<PoisonedSource>(source(), places);
  };
}

engine::SourceFactory random_tokens(const config::Config& config, std::int64_t distinct_batches) {
  return [&config, distinct_batches] {
    return std::make_unique<RandomTokens>(config, distinct_batches);
  };
}

RunResult run_engine(const config::Config& config, const engine::SourceFactory& source,
                     std::int64_t validation_micro_batches) {
  return run_engine(config,
                    {.source = source, .validation_micro_batches = validation_micro_batches});
}

RunResult run_engine(const config::Config& config, const RunOptions& options) {
  EventCollector collector(static_cast<std::size_t>(config.pipeline.stages));
  const auto schedule = engine::proved_schedule(config);
  const std::int64_t cut = options.restore.empty() ? 0 : options.restore.front().cut;
  comm::BatchGate gate(engine::gate_setup(config, schedule, cut));
  engine::Pipeline pipeline(
      {.config = &config,
       .schedule = schedule,
       .make_source = options.source ? options.source : random_tokens(config),
       .validation_micro_batches = options.validation_micro_batches,
       .report = [&](engine::Event event) { collector.add(std::move(event)); },
       .restore = options.restore,
       .before_action =
           [&](int stage, const schedule::Action& action) {
             // The decision about batch b is made before its first forward on stage 0.
             if (stage == 0 && action.batch + 1 == options.stop_before) gate.request_stop();
             if (options.before_action) options.before_action(stage, action);
           },
       .exchange = options.exchange});
  pipeline.run(gate);
  RunResult result = collector.take();
  for (const auto& [name, tensor] : pipeline.weights()) result.weights[name] = tensor.clone();
  return result;
}

RunResult run_plain_loop(const config::Config& config, std::int64_t delay,
                         const engine::SourceFactory& source) {
  return run_plain_loop(
      config, [delay](std::int64_t batch) { return std::max<std::int64_t>(batch - delay, 0); },
      source);
}

RunResult run_plain_loop(const config::Config& config,
                         const std::function<std::int64_t(std::int64_t batch)>& version_read,
                         const engine::SourceFactory& make_source) {
  const at::NoGradGuard no_gradients;
  at::set_num_threads(1);
  RunResult result;
  PlainModel plain(config);
  engine::StageUpdater updater(config, plain.layout, plain.versions[0]);
  const auto source = make_source ? make_source() : random_tokens(config)();
  for (std::int64_t b = 0; b < config.updates(); ++b) {
    const auto read = static_cast<std::size_t>(version_read(b));
    const auto weights = model::weight_views(plain.layout, plain.compute_copy(read));
    at::Tensor gradients = at::zeros({plain.layout.gradient_count});
    double loss = 0;
    for (std::int64_t j = 0; j < config.pipeline.micro_batches; ++j) {
      const auto batch = source->training(b, j);
      model::StageModel::Tape tape;
      const at::Tensor y = plain.model.forward({}, batch, weights, &tape);
      plain.model.backward({}, batch, weights, tape,
                           model::gradient_views(plain.layout, gradients));
      loss += y.item<double>() / static_cast<double>(config.pipeline.micro_batches);
    }
    plain.tie(gradients);
    const double norm = plain.norm(gradients);
    result.losses.push_back(loss);
    result.norms.push_back(norm);
    if (!std::isfinite(norm) || !std::isfinite(loss)) {
      plain.versions.push_back(plain.versions.back());
      result.skipped.push_back(b);
      continue;
    }
    const double factor = std::min(1.0, config.train.clip / (norm + 1e-6));
    if (config.train.clip > 0 && factor < 1) gradients.mul_(factor);
    at::Tensor next = at::zeros_like(plain.versions.back());
    updater.apply(
        b, {.values = gradients, .delay = b - version_read(b), .seen = plain.compute_copy(read)},
        {plain.versions.back(), next});
    plain.versions.push_back(next);
  }
  for (const auto& parameter : plain.layout.parameters) {
    if (config.model.tied && parameter.spec.kind == model::ParameterKind::head) continue;
    result.weights[parameter.spec.name] = model::weight_view(parameter, plain.versions.back());
  }
  return result;
}

RunResult run_loop_by_stage(const config::Config& config, const VersionRule& rule) {
  const at::NoGradGuard no_gradients;
  at::set_num_threads(1);
  const auto chain = model::units(config.model);
  std::deque<PlainStage> stages;
  for (const auto range : model::partition(config)) stages.emplace_back(config, chain, range);
  const int d = static_cast<int>(stages.size());
  const auto source = random_tokens(config)();
  const std::int64_t m = config.pipeline.micro_batches;
  RunResult result;
  for (std::int64_t b = 0; b < config.updates(); ++b) {
    double loss = 0;
    for (std::int64_t j = 0; j < m; ++j) {
      const std::int64_t i = b * m + j;
      const auto batch = source->training(b, j);
      at::Tensor x;
      for (int s = 0; s < d; ++s) {
        auto& stage = stages[static_cast<std::size_t>(s)];
        x = stage.model.forward(x, batch, stage.weights(rule.forward(s, i)), &stage.tape);
      }
      at::Tensor dx;
      for (int s = d; s-- > 0;) {
        auto& stage = stages[static_cast<std::size_t>(s)];
        dx = stage.model.backward(dx, batch, stage.weights(rule.backward(s, i)), stage.tape,
                                  model::gradient_views(stage.layout, stage.gradients));
      }
      loss += x.item<double>() / static_cast<double>(m);
    }
    for (int s = 0; s < d; ++s) {
      stages[static_cast<std::size_t>(s)].update(b, b - rule.forward(s, b * m));
    }
    result.losses.push_back(loss);
  }
  for (const auto& stage : stages) {
    for (const auto& parameter : stage.layout.parameters) {
      result.weights[parameter.spec.name] = model::weight_view(parameter, stage.versions.back());
    }
  }
  return result;
}

}  // namespace penstock::tests
