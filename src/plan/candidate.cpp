#include "plan/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace penstock::plan {
namespace {

struct Cut {
  double worst = std::numeric_limits<double>::infinity();
  double squares = std::numeric_limits<double>::infinity();
  std::size_t start = 0;

  bool better_than(const Cut& other) const {
    return worst < other.worst || (worst == other.worst && squares < other.squares);
  }
};

}  // namespace

std::string_view name(Recompute recompute) {
  switch (recompute) {
    case Recompute::none:
      return "none";
    case Recompute::block:
      return "block";
    case Recompute::stage:
      return "stage";
  }
  return "";
}

std::string describe(const Candidate& c) {
  const auto [d, m, v] = c.shape;
  return fmt::format("{}{}, {} stage{} x {} replica{}, {} x {} sequence{}, recompute {}",
                     c.schedule->name, v > 1 ? fmt::format(" ({} chunks)", v) : "", d,
                     d == 1 ? "" : "s", c.replicas, c.replicas == 1 ? "" : "s", m, c.micro_batch,
                     c.micro_batch == 1 ? "" : "s", name(c.recompute));
}

std::vector<model::UnitRange> weighted_partition(const std::vector<double>& costs,
                                                 const std::vector<double>& speeds) {
  const std::size_t pieces = speeds.size();
  const std::size_t n = costs.size();
  const bool equal = std::ranges::all_of(speeds, [&](double s) { return s == speeds.front(); });
  if (equal) return model::balanced_partition(costs, static_cast<int>(pieces));

  std::vector<double> sum(n + 1, 0.0);
  for (std::size_t i = 0; i < n; ++i) sum[i + 1] = sum[i] + costs[i];
  std::vector<std::vector<Cut>> best(pieces + 1, std::vector<Cut>(n + 1));
  best[0][0] = {0, 0, 0};
  for (std::size_t k = 1; k <= pieces; ++k) {
    for (std::size_t i = k; i <= n; ++i) {
      for (std::size_t start = k - 1; start < i; ++start) {
        const double time = (sum[i] - sum[start]) / speeds[k - 1];
        const Cut& before = best[k - 1][start];
        const Cut cut{std::max(before.worst, time), before.squares + time * time, start};
        if (cut.better_than(best[k][i])) best[k][i] = cut;
      }
    }
  }
  std::vector<model::UnitRange> ranges(pieces);
  std::size_t end = n;
  for (std::size_t k = pieces; k > 0; --k) {
    const std::size_t start = best[k][end].start;
    ranges[k - 1] = {static_cast<std::int64_t>(start), static_cast<std::int64_t>(end)};
    end = start;
  }
  return ranges;
}

}  // namespace penstock::plan
