#include "model/partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace penstock::model {
namespace {

/// The best cut of the first units into some stages.
struct Cut {
  double value = std::numeric_limits<double>::infinity();
  std::size_t last_start = 0;
};

/// Minimises, over all cuts of costs into d ranges, what `combine(value so far, cost of a range)`
/// leaves at the end. Returns the table [ranges][units] of best cuts.
template <class Combine>
std::vector<std::vector<Cut>> best_cuts(const std::vector<double>& costs, std::size_t d,
                                        Combine combine) {
  const std::size_t n = costs.size();
  std::vector<double> sum(n + 1, 0.0);
  for (std::size_t i = 0; i < n; ++i) sum[i + 1] = sum[i] + costs[i];
  std::vector<std::vector<Cut>> best(d + 1, std::vector<Cut>(n + 1));
  best[0][0] = {0, 0};
  for (std::size_t k = 1; k <= d; ++k) {
    for (std::size_t i = k; i <= n; ++i) {
      for (std::size_t start = k - 1; start < i; ++start) {
        const double value = combine(best[k - 1][start].value, sum[i] - sum[start]);
        if (value < best[k][i].value || start == k - 1) best[k][i] = {value, start};
      }
    }
  }
  return best;
}

}  // namespace

std::vector<UnitRange> balanced_partition(const std::vector<double>& costs, int stages) {
  const auto d = static_cast<std::size_t>(stages);
  const auto by_worst =
      best_cuts(costs, d, [](double worst, double cost) { return std::max(worst, cost); });
  const double worst = by_worst[d][costs.size()].value;
  const auto best = best_cuts(costs, d, [worst](double squares, double cost) {
    return cost > worst ? std::numeric_limits<double>::infinity() : squares + cost * cost;
  });

  std::vector<UnitRange> ranges(d);
  std::size_t end = costs.size();
  for (std::size_t k = d; k > 0; --k) {
    const std::size_t start = best[k][end].last_start;
    ranges[k - 1] = {static_cast<std::int64_t>(start), static_cast<std::int64_t>(end)};
    end = start;
  }
  return ranges;
}

std::vector<UnitRange> partition_from_counts(const std::vector<std::int64_t>& counts) {
  std::vector<UnitRange> ranges;
  std::int64_t first = 0;
  for (const std::int64_t count : counts) {
    ranges.push_back({first, first + count});
    first += count;
  }
  return ranges;
}

std::vector<UnitRange> partition(const config::Config& config) {
  if (!config.pipeline.partition.empty()) return partition_from_counts(config.pipeline.partition);
  std::vector<double> costs;
  for (const auto& unit : units(config.model)) costs.push_back(unit.cost);
  return balanced_partition(costs, static_cast<int>(config.pieces()));
}

std::string stage_map(const std::vector<Unit>& chain, const std::vector<Piece>& pieces, bool tied) {
  double all = 0;
  for (const auto& unit : chain) all += unit.cost;
  std::string text;
  for (const auto& [range, stage] : pieces) {
    double cost = 0;
    std::int64_t parameters = 0;
    for (auto u = range.first; u < range.last; ++u) {
      const Unit& unit = chain[static_cast<std::size_t>(u)];
      cost += unit.cost;
      const bool shares_embedding = tied && unit.kind == UnitKind::head && range.first == 0;
      for (const auto& tensor : unit.tensors) {
        const bool is_head = tensor.parameters.front().kind == ParameterKind::head;
        if (!(shares_embedding && is_head)) parameters += tensor.count();
      }
    }
    const auto first = describe(chain[static_cast<std::size_t>(range.first)]);
    const auto last = describe(chain[static_cast<std::size_t>(range.last - 1)]);
    text += fmt::format(
        "  stage {}: {:>2} units, {:<26} {:>9.2f} M parameters, {:5.1f} % of the work\n", stage,
        range.last - range.first, first == last ? first : fmt::format("{} .. {}", first, last),
        1e-6 * static_cast<double>(parameters), 100 * cost / all);
  }
  return text;
}

}  // namespace penstock::model
