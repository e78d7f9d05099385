#pragma once
// What a stage can be told to do. A schedule is nothing but a sequence of these per stage.

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::schedule {

enum class ActionKind : std::uint8_t {
  receive_activation,  // wait for the previous stage's output
  forward,             // F: run the stage's units on one micro-batch
  send_activation,     // hand the output to the next stage
  receive_gradient,    // wait for the next stage's input gradient
  backward,            // B: gradients of the same micro-batch
  send_gradient,       // hand the input gradient to the previous stage
  contribute,          // give this stage's share of a batch's reduction (norm, loss, tied weights)
  await_reduction,     // wait until every stage has contributed
  update,              // U: write the next weight version
  evaluate,            // forward only, on validation data
};

/// One step of one stage. `version` is the weight version that F, B and evaluate read and that
/// update writes: W(t) = weights after t updates. update writes W(batch + 1) from the gradient of
/// `batch`. For evaluate, `batch` equals `version` and micro_batch counts validation micro-batches.
struct Action {
  ActionKind kind{};
  std::int64_t batch = 0;
  std::int64_t micro_batch = 0;  // within the batch, from 0
  std::int64_t version = 0;

  friend bool operator==(const Action&, const Action&) = default;
};

/// "forward", "send_gradient", ...
std::string_view name(ActionKind kind);

/// For messages: "forward of micro-batch 3 of batch 7 (weights W(6))".
std::string describe(const Action& action);

/// Whether time spent in this action is waiting or transfer rather than work of the stage.
bool is_waiting(ActionKind kind);

}  // namespace penstock::schedule
