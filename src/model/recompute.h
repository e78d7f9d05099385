#pragma once
// Which units of a range keep what their backward needs, and which are computed again. No tensors
// here: plans and the computation use the same cut.

#include <cstddef>
#include <vector>

#include "config/config.h"
#include "model/units.h"

namespace penstock::model {

/// Consecutive units [first, last) of a range. Recomputed: the forward keeps only the input of the
/// first unit, and the backward begins with the forward of all of them, but for the last product,
/// whose result nobody needs. Otherwise it is one unit, whose forward keeps what it saves.
struct Segment {
  std::size_t first = 0;
  std::size_t last = 0;
  bool recomputed = false;

  std::size_t size() const { return last - first; }
};

/// Cuts units of these kinds:
/// - none: every unit keeps what it saves.
/// - block: a segment is what the range has of one layer, with the embedding in front of it.
/// - stage: a segment is the whole range.
/// A segment that begins with the embedding has no input and keeps nothing. The head is apart: it
/// keeps little, because its logits are formed in the backward only.
std::vector<Segment> segments(const std::vector<UnitKind>& kinds, config::Recompute recompute);

}  // namespace penstock::model
