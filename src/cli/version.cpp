#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/build_info.h"
#include "base/cpu.h"
#include "base/physical_memory.h"
#include "cli/commands.h"
#include "engine/pinning.h"

namespace penstock::cli {
namespace {

struct VersionReport {
  BuildInfo build;
  std::string libtorch;
  std::string cpu;
  std::size_t usable_cores;
  std::vector<std::string> features;
  std::int64_t memory_bytes;
};

VersionReport collect() {
  return {.build = build_info(),
          .libtorch = TORCH_VERSION,
          .cpu = cpu_model(),
          .usable_cores = engine::usable_cores().size(),
          .features = feature_names(cpu_features()),
          .memory_bytes = physical_memory()};
}

void print_text(const VersionReport& report) {
  constexpr double gib = 1024.0 * 1024.0 * 1024.0;
  const std::string features =
      report.features.empty() ? "none" : fmt::format("{}", fmt::join(report.features, " "));
  fmt::print("Penstock   {}\n", report.build.version);
  fmt::print("revision   {}\n", revision_name(report.build));
  fmt::print("LibTorch   {}\n", report.libtorch);
  fmt::print("compiler   {}\n", report.build.compiler);
  fmt::print("processor  {}\n", report.cpu);
  fmt::print("cores      {} usable\n", report.usable_cores);
  fmt::print("features   {}\n", features);
  fmt::print("memory     {:.1f} GiB\n", static_cast<double>(report.memory_bytes) / gib);
}

void print_json(const VersionReport& report) {
  const nlohmann::ordered_json object = {
      {"version", report.build.version},     {"revision", report.build.revision},
      {"dirty", report.build.dirty},         {"libtorch", report.libtorch},
      {"compiler", report.build.compiler},   {"cpu", report.cpu},
      {"usable_cores", report.usable_cores}, {"features", report.features},
      {"memory_bytes", report.memory_bytes}};
  fmt::print("{}\n", object.dump());
}

}  // namespace

void add_version_command(CLI::App& root) {
  CLI::App* command = root.add_subcommand("version", "Versions, processor and memory.");
  command->footer("Example: ./penstock version --json");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print one JSON object.");
  command->callback([json] {
    const VersionReport report = collect();
    *json ? print_json(report) : print_text(report);
  });
}

}  // namespace penstock::cli
