#pragma once
// What a stage can be told to do. A schedule is nothing but a sequence of these per stage.

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::schedule {

enum class ActionKind : std::uint8_t {
  receive_activation,  // wait for the output of the piece before
  forward,             // F: run one piece of the model on one micro-batch
  send_activation,     // hand the output to the next piece
  receive_gradient,    // wait for the input gradient of the next piece
  backward,            // B: dX and dW of the same micro-batch at once
  backward_input,      // dX: the gradient of the piece's input only
  backward_weight,     // dW: the gradient of its weights, some time after dX
  send_gradient,       // hand the input gradient to the piece before
  contribute,          // give this stage's share of a batch's reduction (norm, loss, tied weights)
  await_reduction,     // wait until every stage has contributed
  update,              // U: write the next weight version
  capture,             // copy the stage's state right behind an update (cut.h)
  receive_evaluation,  // as receive_activation, for validation data
  evaluate,            // forward only, on validation data
  send_evaluation,
};

/// One step of one stage. `version` is the weight version that F, B, dX and evaluate read and that
/// update writes: W(t) = weights after t updates. update writes W(batch + 1) from the gradient of
/// `batch`, and capture carries the same numbers as the update before it. dW reads no weights and
/// carries the version of its dX. For evaluate, `batch` equals `version` and micro_batch counts
/// validation micro-batches.
struct Action {
  ActionKind kind{};
  std::int64_t batch = 0;
  std::int64_t micro_batch = 0;  // within the batch, from 0
  std::int64_t version = 0;
  std::int32_t chunk = 0;  // which of the stage's pieces of the model; 0 where it has one

  friend bool operator==(const Action&, const Action&) = default;
};

/// "forward", "send_gradient", ...
std::string_view name(ActionKind kind);

/// For messages: "forward of micro-batch 3 of batch 7 (weights W(6))"; names the chunk unless 0.
std::string describe(const Action& action);

/// Whether time spent in this action is waiting or transfer rather than work of the stage.
bool is_waiting(ActionKind kind);

}  // namespace penstock::schedule
