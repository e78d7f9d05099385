#pragma once
// The rules that the actions of one stage must keep, whatever the other stages do.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "schedule/lowering.h"
#include "schedule/schedule.h"

namespace penstock::schedule {

struct BrokenRule {
  std::string rule;    // short name, e.g. "order of micro-batches"
  std::string detail;  // actual values and what to do
};

/// What a stage was seen to need; at most what its StageLimits promise.
struct StageFacts {
  int versions = 1;
  int gradient_buffers = 0;
  int in_flight = 0;
  int least_delay = 0;  // of all batches that could be as old as the schedule declares
  int most_delay = 0;
  std::int64_t actions = 0;
};

/// A run of so many batches, with evaluations in between.
struct Run {
  std::int64_t batches = 1;
  EvaluationPlan evaluation;
};

/// Checks one action after the other. Micro-batches must go through every piece in their order:
/// then gradients and losses are summed in the same order under every schedule, and a few counters
/// are all that there is to remember, next to the versions that forwards in flight have read.
class StageRules {
 public:
  StageRules(const Schedule& schedule, PipelineShape shape, int stage, Run run);

  std::optional<BrokenRule> check(const Action& action);
  /// At the end of the stage's actions: what is missing?
  std::optional<BrokenRule> check_end() const;

  StageFacts facts() const;

 private:
  struct Piece {
    std::int64_t forwards = 0;                  // micro-batches done, counted over the run
    std::int64_t input_gradients = 0;           // B or dX
    std::int64_t weight_gradients = 0;          // B or dW
    std::deque<std::int64_t> forward_versions;  // of F's without B or dX
    std::deque<std::int64_t> input_versions;    // of dX's without dW
    std::int64_t evaluated_version = 0;
    std::int64_t evaluations = 0;  // of that version
  };
  using Result = std::optional<BrokenRule>;

  Result check_fields(const Action& action) const;
  Result check_transfers(const Action& action);
  Result check_order(const Action& action, std::int64_t next) const;
  Result check_read(const Action& action);
  Result check_delay(const Action& action);
  Result check_gradient_buffer(const Action& action);
  Result on_forward(const Action& action, Piece& piece);
  Result on_backward(const Action& action, Piece& piece);
  Result on_backward_weight(const Action& action, Piece& piece);
  Result on_evaluate(const Action& action, Piece& piece);
  Result on_contribute(const Action& action);
  Result on_await_reduction(const Action& action);
  Result on_update(const Action& action);
  Result check_evaluations_done() const;

  std::int64_t number(const Action& action) const {
    return action.batch * shape_.micro_batches + action.micro_batch;
  }
  std::string due(std::int64_t number) const;
  int piece_of(const Action& action) const {
    return piece_at(schedule_.placement, shape_, {stage_, action.chunk});
  }
  std::int64_t& slot_of(std::int64_t version) {
    return slots_[static_cast<std::size_t>(version) % slots_.size()];
  }
  bool evaluation_due() const;
  /// By forwards in flight; the version to be written next where there are none.
  std::int64_t oldest_read() const;

  const Schedule& schedule_;
  const PipelineShape shape_;
  const int stage_;
  const Run run_;
  const StageLimits limits_;
  std::vector<Piece> pieces_;        // one per chunk
  std::vector<std::int64_t> slots_;  // the version in each slot
  std::int64_t newest_ = 0;
  std::int64_t contributed_ = 0;  // batches
  std::int64_t awaited_ = 0;
  std::int64_t in_flight_ = 0;
  std::optional<Action> due_;  // nothing else may come next
  StageFacts facts_;
  bool delay_seen_ = false;
};

bool is_receive(ActionKind kind);
bool is_send(ActionKind kind);

}  // namespace penstock::schedule
