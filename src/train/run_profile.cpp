#include "train/run_profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/pipeline.h"
#include "engine/stage_profiler.h"
#include "train/machine_bounds.h"

namespace penstock::train {
namespace {

observe::StageTimes times_of(const engine::StageProfile& profile) {
  const auto& usage = profile.usage;
  return {.updates = profile.updates,
          .seconds = profile.seconds - usage.evaluation,
          .operations = profile.operations,
          .waits = {.activation = usage.wait_activation,
                    .gradient = usage.wait_gradient,
                    .update = usage.wait_update,
                    .transfer = usage.transfer,
                    .blocked = usage.blocked,
                    .core = profile.waited_for_core}};
}

observe::StageBounds bounds_of_stage(config::Precision precision, const Workers& workers) {
  constexpr double seconds_for_products = 1.2;
  constexpr double seconds_for_copies = 0.6;
  const char* name = precision == config::Precision::bf16 ? "bf16" : "fp32";
  return {.flops_per_s = product_rates(precision, workers, seconds_for_products).best(),
          .bytes_per_s = copy_rate(CopyPlace::memory, workers, seconds_for_copies).bytes_per_s,
          .conditions = fmt::format("{}, {} thread{}", name, workers.threads,
                                    workers.threads == 1 ? "" : "s")};
}

}  // namespace

void check_profile(const config::Config& config, std::int64_t cut) {
  constexpr auto fewest = engine::StageProfiler::fewest_updates;
  const std::int64_t updates = config.updates() - cut;
  if (updates < fewest) {
    throw user_error("profile",
                     "--profile leaves out the first {} and the last {} updates, so it needs {}, "
                     "but the run has {}{}; leave --profile out or train longer",
                     engine::StageProfiler::left_out, engine::StageProfiler::left_out, fewest,
                     updates, cut > 0 ? " left" : "");
  }
  if (config.train.device == config::DeviceKind::cpu) return;
  throw user_error(
      "profile",
      "--profile times operations on the processor, but train.device = \"cuda\"; leave "
      "--profile out or set train.device = \"cpu\"");
}

std::optional<observe::StepProfile> run_profile(const std::vector<engine::StageProfile>& stages,
                                                const config::Config& config, int stages_on_host) {
  if (static_cast<std::int64_t>(stages.size()) < config.pipeline.stages) return std::nullopt;
  Workers workers = all_cores(engine::threads_per_stage(config, stages_on_host));
  workers.count = std::min(workers.count, stages_on_host);
  std::vector<observe::StageTimes> times;
  for (const auto& stage : stages) times.push_back(times_of(stage));
  return observe::step_profile(times, bounds_of_stage(config.train.precision, workers));
}

}  // namespace penstock::train
