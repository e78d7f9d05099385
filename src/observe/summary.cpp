#include "observe/summary.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "observe/progress.h"

namespace penstock::observe {
namespace {

nlohmann::json number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string line(std::string_view label, std::string_view value) {
  return fmt::format("  {:<12}  {}\n", label, value);
}

std::string memory_text(std::int64_t bytes) {
  const double mebibytes = static_cast<double>(bytes) / (1024.0 * 1024.0);
  return mebibytes < 1024 ? fmt::format("{:.0f} MiB", mebibytes)
                          : fmt::format("{:.2f} GiB", mebibytes / 1024);
}

std::string skipped_text(const RunSummary& summary) {
  return fmt::format("{} update{} for a NaN or an infinity, the first at step {}", summary.skipped,
                     summary.skipped == 1 ? "" : "s", *summary.first_skipped);
}

nlohmann::json delay_json(const StageSummary& stage) {
  if (!std::isfinite(stage.mean_delay)) return nullptr;
  return {{"mean", stage.mean_delay}, {"least", stage.least_delay}, {"most", stage.most_delay}};
}

nlohmann::json stage_json(const StageSummary& stage) {
  nlohmann::json waits = {{"idle", stage.idle}};
  for (const auto& cause : wait_causes) waits[std::string(cause.name)] = stage.waits.*cause.seconds;
  return {{"busy", stage.busy}, {"waits", std::move(waits)}, {"delay", delay_json(stage)}};
}

std::string percent(double share) { return fmt::format("{:>7.1f}%", 100 * share); }

/// 79 columns wide.
std::string stage_table(const std::vector<StageSummary>& stages) {
  std::string text = "  stage    busy";
  for (const auto& cause : wait_causes) text += fmt::format("{:>8}", cause.head);
  text += "    idle   delay\n";
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const auto& stage = stages[i];
    text += fmt::format("  {:>5}", i) + percent(stage.busy);
    for (const auto& cause : wait_causes) text += percent(stage.waits.*cause.seconds);
    text += percent(stage.idle);
    text += std::isfinite(stage.mean_delay) ? fmt::format("{:>8.2f}\n", stage.mean_delay)
                                            : fmt::format("{:>8}\n", "-");
  }
  return text;
}

}  // namespace

nlohmann::json to_json(const RunSummary& summary) {
  nlohmann::json busy = nlohmann::json::array();
  nlohmann::json stages = nlohmann::json::array();
  for (const auto& stage : summary.stages) {
    busy.push_back(stage.busy);
    stages.push_back(stage_json(stage));
  }
  nlohmann::json object = {
      {"steps", summary.steps},
      {"tokens", summary.tokens},
      {"seconds", summary.seconds},
      {"tokens_per_s", summary.tokens_per_s},
      {"train_loss", number_or_null(summary.train_loss)},
      {"val_loss", number_or_null(summary.val_loss)},
      {"busy_fraction", std::move(busy)},
      {"peak_rss_bytes", summary.peak_rss_bytes},
      {"weights_hash", summary.weights_hash},
      {"eval_seconds", summary.eval_seconds},
      {"interrupted", summary.interrupted},
      {"run_dir", summary.run_dir},
      {"skipped", summary.skipped},
      {"first_skipped",
       summary.first_skipped ? nlohmann::json(*summary.first_skipped) : nlohmann::json(nullptr)},
      {"stages", std::move(stages)}};
  if (summary.profile) object["profile"] = to_json(*summary.profile);
  return object;
}

std::string to_text(const RunSummary& summary) {
  std::string text =
      fmt::format("{} {} updates, {} tokens in {} ({} tokens/s)\n",
                  summary.interrupted ? "Interrupted after" : "Finished", summary.steps,
                  short_number(static_cast<double>(summary.tokens)), duration_text(summary.seconds),
                  short_number(summary.tokens_per_s));
  if (summary.train_loss) text += line("train loss", fmt::format("{:.4f}", *summary.train_loss));
  if (summary.val_loss) {
    text += line("val loss", fmt::format("{:.4f}  (evaluations took {})", *summary.val_loss,
                                         duration_text(summary.eval_seconds)));
  }
  if (summary.first_skipped) text += line("skipped", skipped_text(summary));
  text += line("peak memory", memory_text(summary.peak_rss_bytes));
  text += line("weights hash", summary.weights_hash);
  text += line("run folder", summary.run_dir);
  if (!summary.stages.empty()) text += stage_table(summary.stages);
  return text;
}

}  // namespace penstock::observe
