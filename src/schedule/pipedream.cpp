// PipeDream: never flushed; every stage updates on its own as soon as a batch's backwards are done.
// A forward reads the newest weights and its backward the same ones, kept until then. With m = 1
// the gradients of stage s are d-1-s updates old. Source: Narayanan et al. 2019, "PipeDream", SOSP.

#include "schedule/lone_updates.h"

namespace penstock::schedule {

Schedule pipedream() {
  return with_lone_updates(
      "pipedream",
      "asynchronous, no bubble; gradients up to ceil((d-1-s)/m) updates old on stage s",
      BackwardReads::weights_of_its_forward);
}

}  // namespace penstock::schedule
