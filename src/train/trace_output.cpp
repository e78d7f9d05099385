#include "train/trace_output.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>

#include "base/build_info.h"
#include "base/cpu.h"
#include "base/error.h"

namespace penstock::train {

void check_trace_path(const std::filesystem::path& path, const RunFolder& run) {
  if (path.empty()) return;
  if (std::filesystem::is_directory(path) || !path.has_filename()) {
    throw user_error("trace", "--trace '{}' is a folder; name a file in it", path.string());
  }
  const auto same = [&](const std::filesystem::path& other) {
    return std::filesystem::absolute(path).lexically_normal() ==
           std::filesystem::absolute(other).lexically_normal();
  };
  const auto taken = {run.path,   run.config(),    run.metrics(),    run.weights(),
                      run.grid(), run.tokenizer(), run.checkpoints()};
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

}  // namespace penstock::train
