#pragma once
// The end of a run, for people and for programs.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace penstock::observe {

struct RunSummary {
  std::int64_t steps = 0;   ///< Updates done.
  std::int64_t tokens = 0;  ///< Trained.
  double seconds = 0;       ///< Of training, evaluations not counted.
  double eval_seconds = 0;
  double tokens_per_s = 0;            ///< tokens / seconds; 0 for a run without updates.
  std::optional<double> train_loss;   ///< Of the last update; none for a run without updates.
  std::optional<double> val_loss;     ///< Of the last evaluation.
  std::vector<double> busy_fraction;  ///< Each stage's share of computing over `seconds`, 0..1.
  std::int64_t peak_rss_bytes = 0;
  std::string weights_hash;  ///< Of the newest fp32 weights in name order.
  bool interrupted = false;
  std::string run_dir;
};

/// Keys: steps, tokens, seconds, tokens_per_s, train_loss, val_loss, busy_fraction,
/// peak_rss_bytes, weights_hash, eval_seconds, interrupted, run_dir. Losses that are missing or not
/// finite are null.
nlohmann::json to_json(const RunSummary& summary);

/// Some lines for the console, with a bar per stage; ends with '\n'; UTF-8.
std::string to_text(const RunSummary& summary);

}  // namespace penstock::observe
