#include "schedule/action.h"

#include <fmt/format.h>

namespace penstock::schedule {

std::string_view name(ActionKind kind) {
  switch (kind) {
    case ActionKind::receive_activation:
      return "receive_activation";
    case ActionKind::forward:
      return "forward";
    case ActionKind::send_activation:
      return "send_activation";
    case ActionKind::receive_gradient:
      return "receive_gradient";
    case ActionKind::backward:
      return "backward";
    case ActionKind::send_gradient:
      return "send_gradient";
    case ActionKind::contribute:
      return "contribute";
    case ActionKind::await_reduction:
      return "await_reduction";
    case ActionKind::update:
      return "update";
    case ActionKind::evaluate:
      return "evaluate";
  }
  return "unknown";
}

std::string describe(const Action& action) {
  switch (action.kind) {
    case ActionKind::contribute:
    case ActionKind::await_reduction:
      return fmt::format("{} of batch {}", name(action.kind), action.batch);
    case ActionKind::update:
      return fmt::format("update to weights W({}) from batch {}", action.version, action.batch);
    case ActionKind::evaluate:
      return fmt::format("evaluate of validation micro-batch {} (weights W({}))",
                         action.micro_batch, action.version);
    default:
      return fmt::format("{} of micro-batch {} of batch {} (weights W({}))", name(action.kind),
                         action.micro_batch, action.batch, action.version);
  }
}

bool is_waiting(ActionKind kind) {
  switch (kind) {
    case ActionKind::receive_activation:
    case ActionKind::send_activation:
    case ActionKind::receive_gradient:
    case ActionKind::send_gradient:
    case ActionKind::await_reduction:
      return true;
    default:
      return false;
  }
}

}  // namespace penstock::schedule
