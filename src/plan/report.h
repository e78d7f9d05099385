#pragma once
// A search's result for people and for programs.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plan/search.h"

namespace penstock::plan {

/// One thing that a prediction rests on, with its reason.
struct Assumption {
  std::string name;
  std::string value;
  std::string reason;
};

std::vector<Assumption> assumptions(const Workload& workload, const Cluster& cluster);

/// Model, batch and cluster in a few lines.
std::string heading(const Workload& workload, const Cluster& cluster);
/// The ranked plans, the best ones of each schedule and depth with what they lose by, the
/// rejected groups, the best plan's memory by stage, and the assumptions.
std::string text(const Workload& workload, const Cluster& cluster, const Outcome& outcome);
/// "bubble 21.1 % of the time (best plan 1.8 %), ..." for a plan that is not the best.
std::string why_slower(const Plan& plan, const Plan& best);

nlohmann::ordered_json to_json(const Workload& workload, const Plan& plan);
nlohmann::ordered_json to_json(const Workload& workload, const Cluster& cluster,
                               const Outcome& outcome);
/// Both tables begin with these.
nlohmann::ordered_json to_json(const std::vector<Assumption>& assumptions);
std::string text(const std::vector<Assumption>& assumptions);

}  // namespace penstock::plan
