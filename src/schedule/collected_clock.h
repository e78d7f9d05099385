#pragma once
// What every stage must have collected by some moment, in all orders of execution.

#include <cstdint>
#include <memory>
#include <vector>

namespace penstock::schedule {

/// By stage: batches whose reduction it must have collected by now, whatever the order. Clocks
/// travel with the messages of a proof (validate.h) and are shared, since most are equal.
using CollectedClock = std::vector<std::int32_t>;
using CollectedClockPtr = std::shared_ptr<const CollectedClock>;

bool is_at_least(const CollectedClock& a, const CollectedClock& b);

/// The later one of each stage's; `a` or `b` itself where that is it.
CollectedClockPtr merged(const CollectedClockPtr& a, const CollectedClockPtr& b);

}  // namespace penstock::schedule
