#pragma once
// The model to plan for, and the configuration that a plan is written into.

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "plan/search.h"
#include "plan/workload.h"

namespace penstock::plan {

struct PlannedModel {
  config::Config config;
  Experts experts;
  // Whether these are the user's, not placeholders.
  bool has_data = true;
  bool has_length = true;
};

/// Where no run is given, a plan is written with this data and this many tokens per parameter.
inline constexpr std::string_view placeholder_data = "data/*.txt";
inline constexpr std::int64_t placeholder_tokens_per_parameter = 20;

/// A preset by name. `overrides` as for `train`. Errors: those of config::parse.
PlannedModel preset_model(const std::string& name, const std::vector<std::string>& overrides,
                          const config::Catalogue& catalogue);

/// A shape file: [model] as in a configuration, and [experts] count, active. Errors: also unknown
/// keys and sections, with file and line.
PlannedModel parse_shape(std::string_view toml, std::string_view source_name,
                         const std::vector<std::string>& overrides,
                         const config::Catalogue& catalogue);

/// `base` with the plan's pipeline. All replicas become micro-batches of one pipeline, so that the
/// batch stays the same. Errors: UserError for experts, which `train` does not have, and for
/// replicas of a grid, which has room for the micro-batches of one.
config::Config configured(const PlannedModel& base, const Workload& workload, const Plan& plan);

/// The configuration as TOML, headed by comments: what was predicted for what, and what of the plan
/// `train` does not do.
std::string configuration_text(const PlannedModel& base, const Workload& workload,
                               const Cluster& cluster, const Plan& plan);

}  // namespace penstock::plan
