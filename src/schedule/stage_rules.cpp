#include "schedule/stage_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace penstock::schedule {
namespace {

using enum ActionKind;

template <class... Args>
BrokenRule broken(const char* rule, fmt::format_string<Args...> format, Args&&... args) {
  return {rule, fmt::format(format, std::forward<Args>(args)...)};
}

bool is_batch_level(ActionKind kind) {
  return kind == contribute || kind == await_reduction || kind == update;
}

bool is_evaluation(ActionKind kind) {
  return kind == receive_evaluation || kind == evaluate || kind == send_evaluation;
}

/// What must surround a compute action on one piece.
struct Around {
  std::optional<ActionKind> before;
  std::optional<ActionKind> behind;
};

Around around(ActionKind kind, bool first, bool last) {
  Around result;
  if (kind == forward) {
    if (!first) result.before = receive_activation;
    if (!last) result.behind = send_activation;
  } else if (kind == evaluate) {
    if (!first) result.before = receive_evaluation;
    if (!last) result.behind = send_evaluation;
  } else if (kind == backward || kind == backward_input) {
    if (!last) result.before = receive_gradient;
    if (!first) result.behind = send_gradient;
  }
  return result;
}

/// Whether `action` is what may follow a receive or must follow a compute action.
bool follows(const Action& action, const Action& due) {
  const bool kind_fits =
      action.kind == due.kind || (due.kind == backward && action.kind == backward_input);
  return kind_fits && action.batch == due.batch && action.micro_batch == due.micro_batch &&
         action.version == due.version && action.chunk == due.chunk;
}

ActionKind consumer(ActionKind receive) {
  if (receive == receive_activation) return forward;
  return receive == receive_evaluation ? evaluate : backward;
}

}  // namespace

bool is_receive(ActionKind kind) {
  return kind == receive_activation || kind == receive_gradient || kind == receive_evaluation;
}

bool is_send(ActionKind kind) {
  return kind == send_activation || kind == send_gradient || kind == send_evaluation;
}

StageRules::StageRules(const Schedule& schedule, PipelineShape shape, int stage, Run run)
    : schedule_(schedule),
      shape_(shape),
      stage_(stage),
      run_(run),
      limits_(schedule.limits(stage, shape)),
      pieces_(static_cast<std::size_t>(shape.chunks)),
      slots_(static_cast<std::size_t>(std::max(limits_.versions, 1)), -1) {
  slots_[0] = 0;
}

std::optional<BrokenRule> StageRules::check(const Action& action) {
  ++facts_.actions;
  if (auto result = check_fields(action)) return result;
  if (auto result = check_transfers(action)) return result;
  switch (action.kind) {
    case contribute:
      return on_contribute(action);
    case await_reduction:
      return on_await_reduction(action);
    case update:
      return on_update(action);
    default:
      break;
  }
  Piece& piece = pieces_[static_cast<std::size_t>(action.chunk)];
  switch (action.kind) {
    case forward:
      return on_forward(action, piece);
    case backward:
    case backward_input:
      return on_backward(action, piece);
    case backward_weight:
      return on_backward_weight(action, piece);
    case evaluate:
      return on_evaluate(action, piece);
    default:
      return std::nullopt;
  }
}

StageRules::Result StageRules::check_fields(const Action& action) const {
  const char* rule = "numbers in range";
  if (action.kind == capture) {
    return broken("captures", "they are no part of a schedule, but added where a run needs them");
  }
  if (is_batch_level(action.kind)) {
    if (action.batch < 0 || action.batch >= run_.batches) {
      return broken(rule, "this run has the batches 0 to {}", run_.batches - 1);
    }
    if (action.version != action.batch + 1 || action.micro_batch != 0 || action.chunk != 0) {
      return broken(rule, "it must carry version {}, micro-batch 0 and chunk 0, not {}, {} and {}",
                    action.batch + 1, action.version, action.micro_batch, action.chunk);
    }
    return std::nullopt;
  }
  if (action.chunk < 0 || action.chunk >= shape_.chunks) {
    return broken(rule, "a stage has {} chunk{} here, numbered from 0", shape_.chunks,
                  shape_.chunks == 1 ? "" : "s");
  }
  if (is_evaluation(action.kind)) return std::nullopt;
  if (action.batch < 0 || action.batch >= run_.batches) {
    return broken(rule, "this run has the batches 0 to {}", run_.batches - 1);
  }
  if (action.micro_batch < 0 || action.micro_batch >= shape_.micro_batches) {
    return broken(rule, "a batch has the micro-batches 0 to {}", shape_.micro_batches - 1);
  }
  return std::nullopt;
}

StageRules::Result StageRules::check_transfers(const Action& action) {
  const char* rule = "transfers next to their work";
  if (due_ && !follows(action, *due_)) {
    return broken(rule, "{} must come here, right after the action before", describe(*due_));
  }
  const bool was_due = due_.has_value();
  due_.reset();
  if (is_batch_level(action.kind) || action.kind == backward_weight) return std::nullopt;
  if (is_send(action.kind)) {
    if (was_due) return std::nullopt;
    return broken(rule, "it sends what the action right before it did not make");
  }
  const int piece = piece_of(action);
  const bool first = piece == 0;
  const bool last = piece == shape_.pieces() - 1;
  if (is_receive(action.kind)) {
    Action next = action;
    next.kind = consumer(action.kind);
    if (!around(next.kind, first, last).before) {
      return broken(rule, "piece {} of the model, which it is for, is at the end and takes nothing",
                    piece);
    }
    due_ = next;
    return std::nullopt;
  }
  const auto [before, behind] = around(action.kind, first, last);
  if (before && !was_due) {
    Action receive = action;
    receive.kind = *before;
    return broken(rule, "{} must come right before it", describe(receive));
  }
  if (behind) {
    due_ = action;
    due_->kind = *behind;
  }
  return std::nullopt;
}

std::string StageRules::due(std::int64_t number) const {
  if (number >= run_.batches * shape_.micro_batches) return "none is left";
  return fmt::format("micro-batch {} of batch {} is next", number % shape_.micro_batches,
                     number / shape_.micro_batches);
}

StageRules::Result StageRules::check_order(const Action& action, std::int64_t next) const {
  if (number(action) == next) return std::nullopt;
  if (number(action) < next) {
    return broken("each micro-batch once", "it was done before; {}", due(next));
  }
  return broken("order of micro-batches", "{}", due(next));
}

StageRules::Result StageRules::check_read(const Action& action) {
  if (action.version < 0 || action.version > newest_) {
    return broken("weights exist",
                  "the newest weights here are W({}); update earlier or read those", newest_);
  }
  const std::int64_t held = slot_of(action.version);
  if (held != action.version) {
    return broken("weights are still kept",
                  "the stage keeps {} version{} and has overwritten W({}) by W({}); keep more or "
                  "update later",
                  limits_.versions, limits_.versions == 1 ? "" : "s", action.version, held);
  }
  facts_.versions = std::max(facts_.versions, static_cast<int>(newest_ - action.version) + 1);
  return std::nullopt;
}

StageRules::Result StageRules::check_delay(const Action& action) {
  const std::int64_t delay = action.batch - action.version;
  const std::int64_t least = std::min<std::int64_t>(limits_.least_delay, action.batch);
  if (delay < least || delay > limits_.most_delay) {
    return broken("delay of gradients",
                  "its gradient is {} updates old when it is applied, but the schedule declares {} "
                  "to {}; read other weights or declare it",
                  delay, limits_.least_delay, limits_.most_delay);
  }
  if (action.batch < limits_.most_delay) return std::nullopt;
  const int value = static_cast<int>(delay);
  facts_.least_delay = delay_seen_ ? std::min(facts_.least_delay, value) : value;
  facts_.most_delay = delay_seen_ ? std::max(facts_.most_delay, value) : value;
  delay_seen_ = true;
  return std::nullopt;
}

StageRules::Result StageRules::check_gradient_buffer(const Action& action) {
  const std::int64_t buffers = action.batch - newest_ + 1;
  if (buffers > limits_.gradient_buffers) {
    return broken("gradient buffers",
                  "gradients of batches {} to {} exist, {} in all, but the stage keeps {}; update "
                  "earlier or declare more",
                  newest_, action.batch, buffers, limits_.gradient_buffers);
  }
  facts_.gradient_buffers = std::max(facts_.gradient_buffers, static_cast<int>(buffers));
  return std::nullopt;
}

StageRules::Result StageRules::on_forward(const Action& action, Piece& piece) {
  if (auto result = check_order(action, piece.forwards)) return result;
  if (auto result = check_read(action)) return result;
  if (!schedule_.stashes_weights && action.version != newest_) {
    return broken("newest weights", "without stashed weights it must read the newest, W({})",
                  newest_);
  }
  if (auto result = check_delay(action)) return result;
  // The loss is summed where the gradients are.
  if (piece_of(action) == shape_.pieces() - 1) {
    if (auto result = check_gradient_buffer(action)) return result;
  }
  if (++in_flight_ > limits_.in_flight) {
    return broken("activations in flight",
                  "{} chunk activations are kept at a time, but the limit is {}; run a backward "
                  "first or declare more",
                  in_flight_, limits_.in_flight);
  }
  facts_.in_flight = std::max(facts_.in_flight, static_cast<int>(in_flight_));
  ++piece.forwards;
  piece.forward_versions.push_back(action.version);
  return std::nullopt;
}

StageRules::Result StageRules::on_backward(const Action& action, Piece& piece) {
  if (auto result = check_order(action, piece.input_gradients)) return result;
  if (piece.input_gradients >= piece.forwards) {
    return broken("forward before backward", "its forward has not been done");
  }
  const std::int64_t read_by_forward = piece.forward_versions.front();
  if (schedule_.stashes_weights && action.version != read_by_forward) {
    return broken("same weights in forward and backward", "its forward read W({})",
                  read_by_forward);
  }
  if (auto result = check_read(action)) return result;
  if (!schedule_.stashes_weights && action.version != newest_) {
    return broken("newest weights", "without stashed weights it must read the newest, W({})",
                  newest_);
  }
  if (auto result = check_gradient_buffer(action)) return result;
  piece.forward_versions.pop_front();
  ++piece.input_gradients;
  if (action.kind == backward_input) {
    piece.input_versions.push_back(action.version);
    return std::nullopt;
  }
  if (auto result = check_order(action, piece.weight_gradients)) return result;
  ++piece.weight_gradients;
  --in_flight_;
  return std::nullopt;
}

StageRules::Result StageRules::on_backward_weight(const Action& action, Piece& piece) {
  if (auto result = check_order(action, piece.weight_gradients)) return result;
  if (piece.input_versions.empty()) {
    return broken("dX before dW", "its dX has not been done");
  }
  if (action.version != piece.input_versions.front()) {
    return broken("same weights in forward and backward", "its dX read W({})",
                  piece.input_versions.front());
  }
  if (auto result = check_gradient_buffer(action)) return result;
  piece.input_versions.pop_front();
  ++piece.weight_gradients;
  --in_flight_;
  return std::nullopt;
}

bool StageRules::evaluation_due() const {
  if (newest_ == 0 || run_.evaluation.micro_batches == 0) return false;
  const bool regular = run_.evaluation.every > 0 && newest_ % run_.evaluation.every == 0;
  return regular || newest_ == run_.batches;
}

StageRules::Result StageRules::on_evaluate(const Action& action, Piece& piece) {
  const char* rule = "evaluations";
  if (action.version != newest_ || action.batch != newest_ || !evaluation_due()) {
    return broken(rule, "only the newest weights, W({}), are evaluated, where the plan says so",
                  newest_);
  }
  if (piece.evaluated_version != newest_) {
    piece.evaluated_version = newest_;
    piece.evaluations = 0;
  }
  if (action.micro_batch != piece.evaluations ||
      piece.evaluations >= run_.evaluation.micro_batches) {
    return broken(rule, "{} of {} validation micro-batches are done", piece.evaluations,
                  run_.evaluation.micro_batches);
  }
  ++piece.evaluations;
  return std::nullopt;
}

StageRules::Result StageRules::check_evaluations_done() const {
  if (!evaluation_due()) return std::nullopt;
  for (const auto& piece : pieces_) {
    const bool done =
        piece.evaluated_version == newest_ && piece.evaluations == run_.evaluation.micro_batches;
    if (!done) return broken("evaluations", "W({}) has not been evaluated", newest_);
  }
  return std::nullopt;
}

StageRules::Result StageRules::on_contribute(const Action& action) {
  if (action.batch != contributed_) {
    return broken("order of batches", "batch {} is the next to contribute to its reduction",
                  contributed_);
  }
  const std::int64_t all = (action.batch + 1) * shape_.micro_batches;
  for (const auto& piece : pieces_) {
    if (piece.weight_gradients < all) {
      return broken("contribute after the last backward", "{}",
                    due(piece.weight_gradients) + " to be differentiated");
    }
  }
  ++contributed_;
  return std::nullopt;
}

StageRules::Result StageRules::on_await_reduction(const Action& action) {
  if (action.batch != awaited_) {
    return broken("order of batches", "batch {} is the next whose reduction is to be awaited",
                  awaited_);
  }
  if (action.batch >= contributed_) {
    return broken("contribute before waiting",
                  "the stage waits for its own share: contribute must come first");
  }
  // Without updates together, totals are only reported, with the update.
  if (!schedule_.updates_together && action.batch >= newest_) {
    return broken("contribute before waiting", "where stages update alone, the update comes first");
  }
  ++awaited_;
  return std::nullopt;
}

std::int64_t StageRules::oldest_read() const {
  std::int64_t oldest = newest_ + 1;
  if (!schedule_.stashes_weights) return oldest;
  for (const auto& piece : pieces_) {
    for (const std::int64_t version : piece.forward_versions) oldest = std::min(oldest, version);
  }
  return oldest;
}

StageRules::Result StageRules::on_update(const Action& action) {
  if (action.batch != newest_) {
    return broken("order of batches", "W({}) are the newest weights, so batch {} is next to update",
                  newest_, newest_);
  }
  if (action.batch >= contributed_) {
    return broken("update after its reduction", "the stage has not contributed to batch {}",
                  action.batch);
  }
  if (schedule_.updates_together && awaited_ != action.batch + 1) {
    return broken("update after its reduction",
                  "await_reduction of batch {} must be the last one before it", action.batch);
  }
  if (auto result = check_evaluations_done()) return result;
  const std::int64_t next = action.version;
  const std::int64_t oldest = oldest_read();
  if (next - oldest >= limits_.versions) {
    return broken("no overwriting under a reader",
                  "W({}) would overwrite W({}), which a forward in flight has read; keep more than "
                  "{} version{} or update later",
                  next, oldest, limits_.versions, limits_.versions == 1 ? "" : "s");
  }
  facts_.versions = std::max(facts_.versions, static_cast<int>(next - oldest) + 1);
  slot_of(next) = next;
  newest_ = next;
  return std::nullopt;
}

std::optional<BrokenRule> StageRules::check_end() const {
  if (due_) return broken("transfers next to their work", "{} is missing", describe(*due_));
  const std::int64_t all = run_.batches * shape_.micro_batches;
  for (std::size_t c = 0; c < pieces_.size(); ++c) {
    const auto& piece = pieces_[c];
    const struct {
      const char* what;
      std::int64_t count;
    } kinds[] = {{"forward", piece.forwards},
                 {"backward", piece.input_gradients},
                 {"weight gradient", piece.weight_gradients}};
    for (const auto& [what, count] : kinds) {
      if (count == all) continue;
      return broken("each micro-batch once", "micro-batch {} of batch {} has no {}{}",
                    count % shape_.micro_batches, count / shape_.micro_batches, what,
                    shape_.chunks == 1 ? "" : fmt::format(" on chunk {}", c));
    }
  }
  const char* rule = "nothing left at the end";
  if (contributed_ != run_.batches) {
    return broken(rule, "batch {} has not contributed to its reduction", contributed_);
  }
  if (newest_ != run_.batches) return broken(rule, "the update from batch {} is missing", newest_);
  if (awaited_ != run_.batches) {
    return broken(rule, "the reduction of batch {} has not been awaited", awaited_);
  }
  return check_evaluations_done();
}

StageFacts StageRules::facts() const { return facts_; }

}  // namespace penstock::schedule
