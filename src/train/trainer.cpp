#include "train/trainer.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include "base/build_info.h"
#include "base/cpu.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weights_hash.h"
#include "comm/batch_gate.h"
#include "config/print.h"
#include "engine/pipeline.h"
#include "model/partition.h"
#include "observe/curve.h"
#include "observe/memory.h"
#include "observe/metrics.h"
#include "timeline/trace_file.h"
#include "train/catalogue.h"
#include "train/event_queue.h"
#include "train/language_model.h"
#include "train/run_data.h"
#include "train/run_folder.h"
#include "train/run_reporter.h"
#include "train/stop_signals.h"

namespace penstock::train {
namespace {

void print_data(std::ostream& out, const config::Config& config, const RunData& data) {
  const auto& prepared = data.prepared();
  fmt::print(out, "data: {:.2f} M tokens, vocabulary {}, unigram entropy {:.3f} nats per token{}\n",
             1e-6 * static_cast<double>(prepared.tokens), prepared.vocabulary,
             prepared.unigram_entropy, prepared.from_cache ? " (from the cache)" : "");
  const double epochs = static_cast<double>(config.updates() * config.tokens_per_update()) /
                        static_cast<double>(data.training_sequences() * config.model.seq);
  fmt::print(out, "run: {} updates of {} tokens, {:.2f} epochs; validation on {} sequences\n",
             config.updates(), config.tokens_per_update(), epochs, data.validation_sequences());
}

void print_settings(std::ostream& out, const config::Config& config,
                    const schedule::Schedule& schedule, const RunData& data) {
  fmt::print(out, "{}\n", config::table(config, catalogue()));
  for (const auto& note : config.notes) fmt::print(out, "note: {}\n", note);
  if (config.updates() > 0) print_data(out, config, data);
  fmt::print(out, "model: {} parameters in {} stage{}, {} thread{} each\n",
             model::parameter_count(config.model), config.pipeline.stages,
             config.pipeline.stages == 1 ? "" : "s", engine::threads_per_stage(config),
             engine::threads_per_stage(config) == 1 ? "" : "s");
  const auto pieces = engine::pieces(config, schedule);
  fmt::print(out, "{}\n", model::stage_map(model::units(config.model), pieces, config.model.tied));
  out.flush();
}

/// Shows how far tokenizing is: a line per stage of work, rewritten on a terminal.
data::Progress show_preparation(const TrainOutput& output) {
  return [&output, last = std::string(), percent = -1](std::string_view stage,
                                                       double fraction) mutable {
    const int now = static_cast<int>(100 * fraction);
    if (stage == last && (!output.console.terminal || now == percent)) return;
    if (output.console.terminal) {
      fmt::print(output.text, "\rpreparing the data: {} {:3d} %\033[K", stage, now);
    } else {
      fmt::print(output.text, "preparing the data: {}\n", stage);
    }
    output.text.flush();
    last = stage;
    percent = now;
  };
}

void announce_stop(comm::BatchGate& gate) {
  gate.request_stop();
  fmt::print(stderr,
             "\nstopping after the started batches, then writing the weights; "
             "a second signal ends at once, without them\n");
}

struct Failures {
  std::exception_ptr engine;
  std::exception_ptr report;  // ends the run early
};

/// Runs the pipeline on its own threads and handles its events on this one.
[[nodiscard]] Failures run_pipeline(engine::Pipeline& pipeline, comm::BatchGate& gate,
                                    EventQueue& events, RunReporter& reporter) {
  Failures failures;
  std::jthread engine_thread([&] {
    try {
      pipeline.run(gate);
    } catch (...) {
      failures.engine = std::current_exception();
    }
    events.end();
  });
  while (const auto event = events.pop()) {
    if (failures.report) continue;  // only waiting for the stages to come to rest
    try {
      reporter.handle(*event);
    } catch (...) {
      failures.report = std::current_exception();
      gate.request_stop();
    }
  }
  engine_thread.join();
  return failures;
}

std::map<std::string, at::Tensor> by_name(const std::vector<engine::NamedTensor>& weights) {
  std::map<std::string, at::Tensor> map;
  for (const auto& [name, tensor] : weights) map.emplace(name, tensor);
  return map;
}

/// Also after a failure of the reporting, which is then thrown: it came first, whatever the writing
/// of the weights brings.
void save_weights(const std::filesystem::path& path,
                  const std::map<std::string, at::Tensor>& weights,
                  const std::exception_ptr& earlier_failure) {
  try {
    checkpoint::write_safetensors(path, {weights, {{"format", "pt"}}});
  } catch (const std::system_error&) {
    if (!earlier_failure) throw;
  }
  if (earlier_failure) std::rethrow_exception(earlier_failure);
}

void check_trace_path(const std::filesystem::path& path, const RunFolder& run) {
  if (path.empty()) return;
  if (std::filesystem::is_directory(path) || !path.has_filename()) {
    throw user_error("trace", "--trace '{}' is a folder; name a file in it", path.string());
  }
  const auto same = [&](const std::filesystem::path& other) {
    return std::filesystem::absolute(path).lexically_normal() ==
           std::filesystem::absolute(other).lexically_normal();
  };
  const auto taken = {run.path,      run.config(), run.metrics(),
                      run.weights(), run.grid(),   run.tokenizer()};
  if (std::ranges::any_of(taken, same)) {
    throw user_error("trace",
                     "--trace '{}' is where the run itself is written (output.dir); name another "
                     "file, such as '{}'",
                     path.string(), (run.path / "trace.json").string());
  }
}

std::optional<timeline::TraceWriter> open_trace(const std::filesystem::path& path,
                                                const config::Config& config,
                                                const engine::Pipeline& pipeline) {
  if (path.empty()) return std::nullopt;
  const std::int64_t element = config.train.precision == config::Precision::bf16 ? 2 : 4;
  const std::int64_t message =
      config.pipeline.micro_batch * config.model.seq * config.model.width * element;
  timeline::TraceHeader header;
  header.schedule = config.pipeline.schedule;
  header.shape = pipeline.shape();
  header.placement = pipeline.schedule().placement;
  header.notes = {{"message_bytes", fmt::format("{}", message)},
                  {"tokens_per_update", fmt::format("{}", config.tokens_per_update())},
                  {"threads_per_stage", fmt::format("{}", engine::threads_per_stage(config))},
                  {"revision", revision_name(build_info())},
                  {"processor", cpu_model()}};
  return std::make_optional<timeline::TraceWriter>(path, header);
}

void close_trace(std::ostream& out, const std::filesystem::path& path,
                 timeline::TraceWriter& trace) {
  trace.close();
  fmt::print(out, "trace: {}; penstock trace {} summarises it\n", path.string(), path.string());
  if (trace.left_out() == 0) return;
  fmt::print(out, "note: the trace holds the first {} of {} actions\n", trace.written(),
             trace.written() + trace.left_out());
}

void print_sample(std::ostream& out, const config::Config& config, const RunData& data,
                  const std::map<std::string, at::Tensor>& weights) {
  const auto tokenizer = data.prepared().tokenizer;
  std::vector<std::uint32_t> prompt{data::Tokenizer::end_of_document};
  tokenizer->encode(config.output.sample, prompt);
  const auto ids =
      sample(LanguageModel(config.model, weights), config.model.seq, prompt,
             data::Tokenizer::end_of_document, {.tokens = config.output.sample_tokens});
  fmt::print(out, "\nsample (prompt \"{}\"):\n{}\n", config.output.sample, tokenizer->decode(ids));
}

}  // namespace

observe::RunSummary train(const config::Config& config, const TrainOutput& output) {
  std::ostream& out = output.text;
  const auto schedule = engine::proved_schedule(config);
  check_trace_path(output.trace, RunFolder{config.output.dir});
  const RunData data(config, show_preparation(output));
  if (output.console.terminal) fmt::print(out, "\r\033[K");
  const bool has_data = !data.prepared().train.empty();
  if (!config.output.sample.empty() && has_data && !data.prepared().tokenizer) {
    throw user_error("output",
                     "output.sample = \"{}\" needs a tokenizer, but the shards come "
                     "without one; set data.tokenizer to its file or output.sample to \"\"",
                     config.output.sample);
  }
  print_settings(out, config, schedule, data);

  EventQueue events;
  comm::BatchGate gate(config.updates());
  // Before anything that starts threads: they inherit the blocked signals.
  const StopSignals signals([&] { announce_stop(gate); });
  engine::Pipeline pipeline({.config = &config,
                             .schedule = schedule,
                             .make_source = data.source_factory(),
                             .validation_micro_batches = data.validation_micro_batches(),
                             .report = [&](engine::Event event) { events.push(std::move(event)); },
                             .trace = !output.trace.empty()});
  const auto [folder, lock, moved] = create_run_folder(config, data.prepared().tokenizer.get());
  if (moved) {
    fmt::print(out, "note: {} held an earlier run, which is now {}\n", folder.path.string(),
               moved->string());
  }
  observe::MetricsWriter metrics(folder.metrics());
  observe::Progress progress(out, output.console, config.updates());
  auto trace = open_trace(output.trace, config, pipeline);
  RunReporter reporter(config, pipeline.clocks(), {&metrics, &progress, trace ? &*trace : nullptr});
  const auto [engine_failure, report_failure] = run_pipeline(pipeline, gate, events, reporter);
  progress.finish();
  if (engine_failure) {
    if (trace) trace->close();  // it shows what led there
    std::rethrow_exception(engine_failure);
  }
  const auto weights = by_name(pipeline.weights());
  save_weights(folder.weights(), weights, report_failure);
  if (trace) close_trace(out, output.trace, *trace);
  auto summary = reporter.summary();
  summary.peak_rss_bytes = observe::peak_rss_bytes();
  summary.weights_hash = checkpoint::weights_hash(weights);
  summary.interrupted = summary.steps < config.updates();
  summary.run_dir = folder.path.string();
  if (!reporter.losses().empty()) {
    fmt::print(out, "\nloss by update\n{}", observe::draw_curve(reporter.losses()));
  }
  fmt::print(out, "\n{}", observe::to_text(summary));
  if (!config.output.sample.empty() && has_data && !summary.interrupted) {
    print_sample(out, config, data, weights);
  }
  out.flush();
  return summary;
}

}  // namespace penstock::train
