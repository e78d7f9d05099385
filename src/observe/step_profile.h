#pragma once
// Where the steps of a run went: a table of operations and waits that adds up to the step.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/operation_total.h"
#include "observe/record.h"

namespace penstock::observe {

/// One stage over some updates.
struct StageTimes {
  std::int64_t updates = 0;
  double seconds = 0;  ///< Of training: evaluations are not in it.
  std::vector<OperationTotal> operations;
  Waits waits{};
};

/// What one stage can reach at most while all others work too.
struct StageBounds {
  double flops_per_s = 0;  ///< Of matrix products.
  double bytes_per_s = 0;  ///< Of copies in memory, bytes read and bytes written.
  std::string conditions;  ///< What they hold for: "fp32, 1 thread".
};

/// Over all stages and one update.
struct ProfileRow {
  std::string part;
  std::string name;
  double seconds = 0;
  double share = 0;  ///< Of the stages' time together.
  double calls = 0;  ///< 0 of a wait.
  /// While it ran; none where its work is not counted.
  std::optional<double> flops_per_s{};
  std::optional<double> bytes_per_s{};
  /// The time that its work takes at the bounds, which is the larger one of flops and bytes, over
  /// the time that it took. Above 1 where data stay in a cache.
  std::optional<double> share_of_bound{};
};

struct StepProfile {
  int stages = 0;
  std::int64_t updates = 0;
  double step_seconds = 0;  ///< From update to update, mean over the stages.
  StageBounds bounds;
  /// Operations, largest first; then waits by cause, and "idle" for what is left of the step.
  /// The seconds add up to stages * step_seconds.
  std::vector<ProfileRow> rows{};
  /// All operations with flops, as one row.
  ProfileRow products{};
};

/// `stages` must have the same number of updates each, at least one. Operations of equal part and
/// name are summed over the stages.
StepProfile step_profile(const std::vector<StageTimes>& stages, const StageBounds& bounds);

/// The table, with one line above on what it covers and one below on the bounds. Rows below 0.1 %
/// share one. 100 columns.
std::string to_text(const StepProfile& profile);

/// {"stages", "updates", "step_seconds", "bounds": {"flops_per_s", "bytes_per_s", "conditions"},
/// "products": row, "rows": [row]} with row = {"part", "name", "seconds", "share", "calls",
/// "flops_per_s", "bytes_per_s", "share_of_bound"}; null where there is none.
nlohmann::json to_json(const StepProfile& profile);

}  // namespace penstock::observe
