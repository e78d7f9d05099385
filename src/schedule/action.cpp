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
    case ActionKind::backward_input:
      return "backward_input";
    case ActionKind::backward_weight:
      return "backward_weight";
    case ActionKind::send_gradient:
      return "send_gradient";
    case ActionKind::contribute:
      return "contribute";
    case ActionKind::await_reduction:
      return "await_reduction";
    case ActionKind::update:
      return "update";
    case ActionKind::capture:
      return "capture";
    case ActionKind::receive_evaluation:
      return "receive_evaluation";
    case ActionKind::evaluate:
      return "evaluate";
    case ActionKind::send_evaluation:
      return "send_evaluation";
  }
  return "unknown";
}

std::string describe(const Action& action) {
  const std::string chunk = action.chunk == 0 ? "" : fmt::format(" on chunk {}", action.chunk);
  switch (action.kind) {
    case ActionKind::contribute:
    case ActionKind::await_reduction:
      return fmt::format("{} of batch {}", name(action.kind), action.batch);
    case ActionKind::update:
      return fmt::format("update to weights W({}) from batch {}", action.version, action.batch);
    case ActionKind::capture:
      return fmt::format("capture of the state behind the update to weights W({})", action.version);
    case ActionKind::receive_evaluation:
    case ActionKind::evaluate:
    case ActionKind::send_evaluation:
      return fmt::format("{} of validation micro-batch {}{} (weights W({}))", name(action.kind),
                         action.micro_batch, chunk, action.version);
    default:
      return fmt::format("{} of micro-batch {} of batch {}{} (weights W({}))", name(action.kind),
                         action.micro_batch, action.batch, chunk, action.version);
  }
}

bool is_waiting(ActionKind kind) {
  switch (kind) {
    case ActionKind::receive_activation:
    case ActionKind::send_activation:
    case ActionKind::receive_gradient:
    case ActionKind::send_gradient:
    case ActionKind::await_reduction:
    case ActionKind::receive_evaluation:
    case ActionKind::send_evaluation:
      return true;
    default:
      return false;
  }
}

}  // namespace penstock::schedule
