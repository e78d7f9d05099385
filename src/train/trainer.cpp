#include "train/trainer.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <cstdio>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weights_hash.h"
#include "comm/batch_gate.h"
#include "engine/device.h"
#include "engine/pipeline.h"
#include "observe/curve.h"
#include "observe/memory.h"
#include "observe/metrics.h"
#include "ranks/process_ranks.h"
#include "train/checkpoint_saver.h"
#include "train/event_handler.h"
#include "train/optimizer_check.h"
#include "train/resume.h"
#include "train/run_data.h"
#include "train/run_folder.h"
#include "train/run_identity.h"
#include "train/run_pipeline.h"
#include "train/run_profile.h"
#include "train/run_reporter.h"
#include "train/run_text.h"
#include "train/share.h"
#include "train/stop_signals.h"
#include "train/trace_output.h"

namespace penstock::train {
namespace {

void announce_stop(comm::BatchGate& gate) {
  gate.request_stop();
  warn(
      "\nstopping after the started batches, then writing the weights; "
      "a second signal ends at once, without them\n");
}

/// It shows what led to the failure, which is what counts where this fails too.
void close_after_failure(timeline::TraceWriter& trace) {
  try {
    trace.close();
  } catch (const std::exception& error) {
    warn(fmt::format("the trace is lost: {}\n", first_line(error)));
  }
}

void require_tokenizer_for_sample(const config::Config& config, const data::Prepared& data) {
  if (config.output.sample.empty() || data.train.empty() || data.tokenizer) return;
  throw user_error("output",
                   "output.sample = \"{}\" needs a tokenizer, but the shards come "
                   "without one; set data.tokenizer to its file or output.sample to \"\"",
                   config.output.sample);
}

Recordings asked_for(const TrainOutput& output) {
  return {.trace = !output.trace.empty(), .profile = output.profile};
}

/// What a run goes on from; nothing for one that begins.
struct Origin {
  std::int64_t cut = 0;
  RestoredState state;
};

Origin origin_of(const StoppedRun* stopped, const checkpoint::Identity& identity,
                 std::ostream& out) {
  if (stopped == nullptr) return {};
  const auto& manifest = stopped->manifest;
  require_same_data(manifest.identity, identity);
  Origin origin{manifest.cut, read_state(*stopped)};
  fmt::print(out, "resume: from update {} of {}, as {} has it\n", manifest.cut,
             stopped->config.updates(), stopped->checkpoint.string());
  for (const auto& note : notes_on_origin(manifest.identity, identity)) {
    fmt::print(out, "note: {}\n", note);
  }
  return origin;
}

void print_how_to_continue(std::ostream& out, const RunFolder& folder) {
  const auto checkpoint = checkpoint::newest_checkpoint(folder.checkpoints());
  if (!checkpoint) return;
  fmt::print(out, "penstock train --resume {} goes on from {}\n", folder.path.string(),
             checkpoint->filename().string());
}

/// The run's folder, ready to be written: a new one, or the stopped run's, back at the cut.
RunFolder open_folder(const config::Config& config, const StoppedRun* stopped, const Origin& origin,
                      const data::Tokenizer* tokenizer, std::optional<FolderLock>& lock,
                      std::ostream& out) {
  if (stopped != nullptr) {
    rewind(*stopped, origin.state.metrics);
    return stopped->folder;
  }
  auto created = create_run_folder(config, tokenizer);
  if (created.moved) {
    fmt::print(out, "note: {} held an earlier run, which is now {}\n", created.folder.path.string(),
               created.moved->string());
    print_how_to_continue(out, RunFolder{*created.moved});
  }
  lock.emplace(std::move(created.lock));
  return created.folder;
}

std::map<std::string, at::Tensor> by_name(const std::vector<engine::NamedTensor>& weights) {
  std::map<std::string, at::Tensor> map;
  for (const auto& [name, tensor] : weights) map.emplace(name, tensor);
  return map;
}

/// Also after a failure of the reporting, which is then thrown: it came first, whatever the writing
/// of the weights brings.
void save_weights(const std::filesystem::path& path,
                  const std::map<std::string, at::Tensor>& weights, std::int64_t updates,
                  const std::exception_ptr& earlier_failure) {
  try {
    checkpoint::write_safetensors(
        path, {weights, {{"format", "pt"}, {updates_key, fmt::format("{}", updates)}}});
  } catch (const std::system_error&) {
    if (!earlier_failure) throw;
  }
  if (earlier_failure) std::rethrow_exception(earlier_failure);
}

observe::RunSummary summary_of(const RunReporter& reporter, const config::Config& config,
                               const RunFolder& folder,
                               const std::map<std::string, at::Tensor>& weights) {
  auto summary = reporter.summary();
  summary.peak_rss_bytes = observe::peak_rss_bytes();
  summary.weights_hash = checkpoint::weights_hash(weights);
  summary.interrupted = summary.steps < config.updates();
  summary.run_dir = folder.path.string();
  return summary;
}

void print_end(std::ostream& out, const RunReporter& reporter, const observe::RunSummary& summary) {
  if (!reporter.losses().empty()) {
    fmt::print(out, "\nloss by update\n{}", observe::draw_curve(reporter.losses()));
  }
  fmt::print(out, "\n{}", observe::to_text(summary));
  if (summary.profile) fmt::print(out, "\n{}", observe::to_text(*summary.profile));
}

observe::RunSummary run(const config::Config& config, const TrainOutput& output,
                        const StoppedRun* stopped) {
  std::ostream& out = output.text;
  (void)engine::usable_device(config.train.device);  // before the first tensor
  check_optimizers(config);
  const auto schedule = engine::proved_schedule(config);
  std::optional<ranks::ProcessRanks> others;
  if (output.group) others.emplace(*output.group, static_cast<int>(config.pipeline.stages));
  check_trace_path(output.trace, RunFolder{config.output.dir});
  if (output.profile) check_profile(config, stopped ? stopped->manifest.cut : 0);
  const RunData data(config, show_preparation(out, output.console));
  if (output.console.terminal) fmt::print(out, "\r\033[K");
  require_tokenizer_for_sample(config, data.prepared());
  const auto identity = identity_of(config, data.prepared());
  print_settings(out, config, schedule, data);
  auto origin = origin_of(stopped, identity, out);
  if (others) {
    assign_shares(*output.group, config, identity, asked_for(output), origin.state.stages);
  }

  EventQueue events;
  comm::BatchGate gate(engine::gate_setup(config, schedule, origin.cut));
  // Before anything that starts threads: they inherit the blocked signals.
  const StopSignals signals([&] { announce_stop(gate); });
  std::optional<CheckpointSaver> saver;
  engine::Pipeline pipeline({.config = &config,
                             .ranks = others ? &*others : nullptr,
                             .schedule = schedule,
                             .make_source = data.source_factory(),
                             .validation_micro_batches = data.validation_micro_batches(),
                             .report = sink_into(events, saver),
                             .trace = asked_for(output).trace,
                             .profile = asked_for(output).profile,
                             .restore = std::move(origin.state.stages),
                             .warn = warn,
                             .on_failure = [&saver] {
                               if (saver) saver->abandon();
                             }});
  std::optional<FolderLock> lock;
  const RunFolder folder =
      open_folder(config, stopped, origin, data.prepared().tokenizer.get(), lock, out);
  saver.emplace(
      saver_setup(config, folder, identity, gate, schedule.reductions(engine::shape_of(config))));
  using Start = observe::MetricsWriter::Start;
  observe::MetricsWriter metrics(folder.metrics(), stopped ? Start::append : Start::empty);
  observe::Progress progress(out, output.console, config.updates());
  auto trace = open_trace(output.trace, config, pipeline);
  RunReporter reporter(config, {&metrics, &progress, trace ? &*trace : nullptr},
                       origin.state.metrics);
  EventHandler handler(reporter, *saver, origin.cut);
  const auto [engine_failure, report_failure] =
      run_pipeline(pipeline, gate, events, handler, *saver);
  progress.finish();
  if (engine_failure) {
    if (trace) close_after_failure(*trace);
    print_how_to_continue(out, folder);
    std::rethrow_exception(engine_failure);
  }
  const auto weights = by_name(pipeline.weights());
  auto summary = summary_of(reporter, config, folder, weights);
  save_weights(folder.weights(), weights, summary.steps, report_failure);
  if (trace) close_trace(out, output.trace, *trace);
  if (output.profile) {
    const int stages = others ? others->stages_on_host().count : pipeline.shape().stages;
    summary.profile = run_profile(reporter.profiles(), config, stages);
    if (!summary.profile) fmt::print(out, "note: too few updates were made for a profile\n");
  }
  print_end(out, reporter, summary);
  if (summary.interrupted) print_how_to_continue(out, folder);
  if (!config.output.sample.empty() && !data.prepared().train.empty() && !summary.interrupted) {
    print_sample(out, config, *data.prepared().tokenizer, weights);
  }
  out.flush();
  return summary;
}

}  // namespace

observe::RunSummary train(const config::Config& config, const TrainOutput& output) {
  return run(config, output, nullptr);
}

observe::RunSummary resume(const std::filesystem::path& folder, const TrainOutput& output) {
  const StoppedRun stopped = open_stopped_run(folder);
  return run(stopped.config, output, &stopped);
}

}  // namespace penstock::train
