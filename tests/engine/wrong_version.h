#pragma once
// A schedule with a mistake, for tests that the mistake is noticed.

#include <cstdint>

#include "schedule/action_stream.h"

namespace penstock::tests {

struct Reads {
  bool forward = true;
  bool backward = true;  // joint, or dX
};

/// Shifts the version of one batch's reads on a stage: what a wrong schedule would do.
inline schedule::ActionStream with_wrong_version(schedule::ActionStream stream, std::int64_t batch,
                                                 std::int64_t shift, Reads wrong = {}) {
  using enum schedule::ActionKind;
  while (auto action = stream.next()) {
    const bool backwards = action->kind == backward || action->kind == backward_input;
    const bool reads = (action->kind == forward && wrong.forward) || (backwards && wrong.backward);
    if (reads && action->batch == batch) action->version += shift;
    co_yield *action;
  }
}

}  // namespace penstock::tests
