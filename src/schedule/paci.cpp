// PACI: PipeDream with a single weight copy. A forward reads the newest weights, and so does its
// backward, up to ceil((d-1-s)/m) updates later: the two may differ, which is the price for the
// memory. Updates after every m backwards, on each stage alone.
// Source: arXiv 2606.07881 (a step every a = m backwards; drift at most ceil((d-1)/a)).

#include "schedule/lone_updates.h"

namespace penstock::schedule {

Schedule one_weight_copy() {
  return with_lone_updates(
      "paci", "asynchronous, no bubble, one weight copy; F and B may read different weights",
      BackwardReads::newest_weights);
}

}  // namespace penstock::schedule
