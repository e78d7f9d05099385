// What recording a run costs per action: on the stage's own thread, and on the thread that writes.
//
// From the root of the repository, after a build:
//   build/release/bin/tracing-benchmark

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <exception>
#include <filesystem>
#include <vector>

#include "engine/span_recorder.h"
#include "timeline/trace_file.h"

namespace {

using namespace penstock;

constexpr std::int64_t spans = 200'000;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Seconds per action, and what was recorded.
double record(std::vector<std::vector<timeline::Span>>& blocks) {
  engine::SpanRecorder recorder([&](auto block) { blocks.push_back(std::move(block)); });
  const double before = cpu_seconds();
  for (std::int64_t i = 0; i < spans; ++i) {
    const double begin = 1e-5 * static_cast<double>(i);
    recorder.add({{schedule::ActionKind::forward, i / 8, i % 8, i / 8, 0}, begin, begin + 9e-6, 0});
  }
  recorder.flush();
  return (cpu_seconds() - before) / spans;
}

double write(const std::vector<std::vector<timeline::Span>>& blocks,
             const std::filesystem::path& path) {
  const double before = cpu_seconds();
  timeline::TraceHeader header;
  header.schedule = "1f1b";
  header.shape = {1, 8, 1};
  timeline::TraceWriter writer(path, header);
  for (const auto& block : blocks) {
    for (const auto& span : block) writer.add(0, span);
  }
  writer.close();
  return (cpu_seconds() - before) / spans;
}

}  // namespace

int main() {
  try {
    const auto path = std::filesystem::temp_directory_path() / "penstock-tracing-benchmark.json";
    std::vector<std::vector<timeline::Span>> blocks;
    const double recording = record(blocks);
    const double writing = write(blocks, path);
    std::filesystem::remove(path);
    fmt::print("per action: {:.0f} ns to record, {:.0f} ns to write\n", 1e9 * recording,
               1e9 * writing);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
