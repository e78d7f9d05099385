#pragma once
// How far a group of parameters moved in an update.

#include <map>
#include <string>

namespace penstock::engine {

/// Squared norms, which add up over parameters and stages. They are estimates from a fixed sample
/// of each parameter's elements, scaled to all of them. A NaN `update_change`: there was no earlier
/// update to compare with.
struct GroupChange {
  double update = 0;         // |u_t|^2, before any correction
  double update_change = 0;  // |u_t - u_{t-1}|^2
  double step = 0;           // |W_{t+1} - W_t|^2
  double weight = 0;         // |W_t|^2

  GroupChange& operator+=(const GroupChange& other) {
    update += other.update;
    update_change += other.update_change;
    step += other.step;
    weight += other.weight;
    return *this;
  }
};

/// By group: "matrices", "embedding", "head", "gains".
using GroupChanges = std::map<std::string, GroupChange>;

}  // namespace penstock::engine
