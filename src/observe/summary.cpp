#include "observe/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "observe/progress.h"

namespace penstock::observe {
namespace {

constexpr std::size_t bar_width = 20;

nlohmann::json number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

/// A bar in eighths of a character.
std::string bar(double share) {
  static constexpr const char* parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double clamped = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  const auto eighths =
      static_cast<std::size_t>(std::lround(clamped * static_cast<double>(8 * bar_width)));
  std::string text;
  for (std::size_t i = 0; i < eighths / 8; ++i) text += "█";
  text += parts[eighths % 8];
  for (std::size_t i = (eighths + 7) / 8; i < bar_width; ++i) text += " ";
  return text;
}

std::string line(std::string_view label, std::string_view value) {
  return fmt::format("  {:<12}  {}\n", label, value);
}

std::string memory_text(std::int64_t bytes) {
  const double mebibytes = static_cast<double>(bytes) / (1024.0 * 1024.0);
  return mebibytes < 1024 ? fmt::format("{:.0f} MiB", mebibytes)
                          : fmt::format("{:.2f} GiB", mebibytes / 1024);
}

}  // namespace

nlohmann::json to_json(const RunSummary& summary) {
  return {{"steps", summary.steps},
          {"tokens", summary.tokens},
          {"seconds", summary.seconds},
          {"tokens_per_s", summary.tokens_per_s},
          {"train_loss", number_or_null(summary.train_loss)},
          {"val_loss", number_or_null(summary.val_loss)},
          {"busy_fraction", summary.busy_fraction},
          {"peak_rss_bytes", summary.peak_rss_bytes},
          {"weights_hash", summary.weights_hash},
          {"eval_seconds", summary.eval_seconds},
          {"interrupted", summary.interrupted},
          {"run_dir", summary.run_dir}};
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
  for (std::size_t stage = 0; stage < summary.busy_fraction.size(); ++stage) {
    const double share = summary.busy_fraction[stage];
    text += line(fmt::format("stage {}", stage),
                 fmt::format("▕{}▏ {:.1f} % busy", bar(share), 100 * share));
  }
  text += line("peak memory", memory_text(summary.peak_rss_bytes));
  text += line("weights hash", summary.weights_hash);
  text += line("run folder", summary.run_dir);
  return text;
}

}  // namespace penstock::observe
