#pragma once
// Cutting the chain of units into stages.

#include <cstdint>
#include <string>
#include <vector>

#include "model/units.h"

namespace penstock::model {

/// Units [first, last) of the chain.
struct UnitRange {
  std::int64_t first = 0;
  std::int64_t last = 0;

  friend bool operator==(const UnitRange&, const UnitRange&) = default;
};

/// The cut into `stages` consecutive ranges, one unit or more each, whose most expensive stage is
/// as cheap as possible; among those the one with the least sum of squared stage costs.
/// Needs 1 <= stages <= costs.size(). Time O(stages * units^2).
std::vector<UnitRange> balanced_partition(const std::vector<double>& costs, int stages);

/// The cut with the given numbers of units, which must be positive and sum to all units.
std::vector<UnitRange> partition_from_counts(const std::vector<std::int64_t>& counts);

/// The pieces that the configuration asks for, in model order: stages * chunks of them.
std::vector<UnitRange> partition(const config::Config& config);

/// A piece and the stage that holds it.
struct Piece {
  UnitRange range;
  int stage = 0;
};

/// One line per piece for people: stage, units, parameters held (a tied head in another piece than
/// the embedding holds a copy of it), share of the cost.
std::string stage_map(const std::vector<Unit>& chain, const std::vector<Piece>& pieces, bool tied);

}  // namespace penstock::model
