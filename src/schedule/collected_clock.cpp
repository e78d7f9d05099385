#include "schedule/collected_clock.h"

#include <algorithm>
#include <cstddef>

namespace penstock::schedule {

bool is_at_least(const CollectedClock& a, const CollectedClock& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] < b[i]) return false;
  }
  return true;
}

CollectedClockPtr merged(const CollectedClockPtr& a, const CollectedClockPtr& b) {
  if (a == b || is_at_least(*a, *b)) return a;
  if (is_at_least(*b, *a)) return b;
  auto result = std::make_shared<CollectedClock>(*a);
  for (std::size_t i = 0; i < a->size(); ++i) (*result)[i] = std::max((*a)[i], (*b)[i]);
  return result;
}

}  // namespace penstock::schedule
