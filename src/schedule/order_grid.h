#pragma once
// The neighbourhood of one action in the order of all stages, as plain text.

#include <cstdint>
#include <string>
#include <vector>

#include "schedule/action.h"

namespace penstock::schedule {

/// One cell of a stage's row. Slots count from the start of the run; a stage has at most one cell
/// per slot, in increasing order.
struct OrderCell {
  std::int64_t slot = 0;
  std::string text;
};

/// F, B, X (dX), W (dW) and E (evaluate) with the micro-batch, U and S (capture) with the version,
/// C (contribute) and A (await) with the batch; r and s in front mean receive and send; chunk c > 0
/// is shown as 'c behind.
std::string cell_text(const Action& action);

/// Rows are stages, columns slots; the bad cell stands between > and <. Shows as many slots around
/// it as `columns` characters hold, and of many stages those near the bad one.
std::string order_grid(const std::vector<std::vector<OrderCell>>& stages, int bad_stage,
                       std::int64_t bad_slot, int columns = 100);

}  // namespace penstock::schedule
