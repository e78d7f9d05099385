#pragma once
// The end of a run, for people and for programs.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "observe/record.h"
#include "observe/step_profile.h"

namespace penstock::observe {

/// One stage over the whole run, as shares of the time of training.
struct StageSummary {
  double busy = 0;
  Waits waits{};
  double idle = 0;  ///< Neither: mostly the wait for the next batch to begin.
  /// Updates between the weights that a batch was computed with and the newest ones. `mean_delay`
  /// is NaN where no update has told.
  double mean_delay = undefined;
  std::int64_t least_delay = 0;
  std::int64_t most_delay = 0;
};

struct RunSummary {
  std::int64_t steps = 0;                     ///< Updates done, the skipped ones included.
  std::int64_t skipped = 0;                   ///< Updates that left the weights as they were.
  std::optional<std::int64_t> first_skipped;  ///< The step of the first of them.
  std::int64_t tokens = 0;                    ///< Trained.
  double seconds = 0;                         ///< Of training, evaluations not counted.
  double eval_seconds = 0;
  double tokens_per_s = 0;           ///< tokens / seconds; 0 for a run without updates.
  std::optional<double> train_loss;  ///< Of the last update that was not skipped; none without one.
  std::optional<double> val_loss;    ///< Of the last evaluation.
  std::vector<StageSummary> stages;
  std::int64_t peak_rss_bytes = 0;
  std::string weights_hash;  ///< Of the newest fp32 weights in name order.
  bool interrupted = false;
  std::string run_dir;
  std::optional<StepProfile> profile;  ///< Of a run that was profiled.
};

/// Keys: steps, tokens, seconds, tokens_per_s, train_loss, val_loss, busy_fraction,
/// peak_rss_bytes, weights_hash, eval_seconds, interrupted, run_dir, skipped, first_skipped,
/// stages. busy_fraction lists each stage's share; stages is a list of {"busy", "waits":
/// {"activation", "gradient", "update", "transfer", "blocked", "core", "idle"}, "delay": {"mean",
/// "least", "most"}}, all but the delays as shares of the time of training. What is missing or not
/// finite is null. A profile, where there is one, is "profile".
nlohmann::json to_json(const RunSummary& summary);

/// Some lines for the console, with a table of the stages; ends with '\n'; UTF-8.
std::string to_text(const RunSummary& summary);

}  // namespace penstock::observe
