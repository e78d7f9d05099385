#pragma once
// A schedule with a mistake, for tests that the mistake is noticed.

#include <cstdint>
#include <optional>
#include <utility>

#include "schedule/schedule.h"

namespace penstock::tests {

/// Shifts the version of one batch's reads on a stage: what a wrong schedule would do.
class WrongVersion final : public schedule::ActionStream {
 public:
  WrongVersion(schedule::StreamPtr inner, std::int64_t batch, std::int64_t shift)
      : inner_(std::move(inner)), batch_(batch), shift_(shift) {}
  std::optional<schedule::Action> next() override {
    auto action = inner_->next();
    using enum schedule::ActionKind;
    if (action && action->batch == batch_ &&
        (action->kind == forward || action->kind == backward)) {
      action->version += shift_;
    }
    return action;
  }

 private:
  schedule::StreamPtr inner_;
  std::int64_t batch_;
  std::int64_t shift_;
};

}  // namespace penstock::tests
