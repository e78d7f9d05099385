#pragma once
// A stage of the fake model. It holds itself to what the schedule promises: a broken promise is a
// std::logic_error.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "comm/reduction.h"
#include "engine/pure/fake_model.h"
#include "engine/stage.h"
#include "engine/weight_slots.h"
#include "schedule/schedule.h"

namespace penstock::tests {

struct FakeGradients {
  std::vector<Payload> layers;
  TiedGradient tied_input{};
  TiedGradient tied_output{};
  double loss = 0;
  std::int64_t micro_batches = 0;
  friend bool operator==(const FakeGradients&, const FakeGradients&) = default;
};

/// A micro-batch between its forward and its (last) backward.
struct FakeFlight {
  schedule::Action action;
  std::vector<Payload> inputs;  // of the layers
  Payload output = 0;
  std::vector<Payload> gradients;  // behind the layers
  Payload input_gradient = 0;
  bool split = false;  // dX is done, dW is not
  friend bool operator==(const FakeFlight&, const FakeFlight&) = default;
};

struct FakeChunkState {
  std::map<std::int64_t, FakeWeights> versions;
  std::vector<FakeGradients> gradients;
  std::vector<FakeFlight> in_flight;
  friend bool operator==(const FakeChunkState&, const FakeChunkState&) = default;
};

struct FakeMessage {
  schedule::Action receive;
  std::int64_t sent_version = 0;
  Payload payload = 0;
  friend bool operator==(const FakeMessage&, const FakeMessage&) = default;
};

/// What a stage counts on its way.
struct FakeCounters {
  std::int64_t sums = 0;              // of the batches' totals so far, mixed to one number
  std::vector<std::int64_t> skipped;  // batches
  friend bool operator==(const FakeCounters&, const FakeCounters&) = default;
};
/// FakeCounters::sums with one more batch.
std::int64_t with_total(std::int64_t sums, double norm, double loss, bool finite);

/// All that a stage needs to go on from a cut.
struct FakeState {
  int stage = 0;
  std::int64_t cut = 0;
  std::vector<FakeChunkState> chunks;
  std::map<std::int64_t, comm::Contribution> shares;  // by batch; not collected
  std::map<std::int64_t, bool> own_finite;            // by batch; not updated from
  FakeCounters counters;
  std::vector<FakeMessage> in_transit;
};
/// Whether both are the same but for the shares' values, which may be NaN.
bool same(const FakeState& a, const FakeState& b);

/// One piece of the model on a stage.
class FakeChunk {
 public:
  FakeChunk(int piece, const FakeModel& model, const schedule::Schedule& schedule, int stage,
            schedule::PipelineShape shape);

  Payload forward(const schedule::Action& action, Payload input);
  Payload backward_input(const schedule::Action& action, Payload gradient);
  void backward_weight(const schedule::Action& action);
  Payload evaluate(const schedule::Action& action, Payload input);
  void contribute(std::int64_t batch, comm::Contribution& contribution);
  /// Null: a stage that updates alone.
  void update(const schedule::Action& action, const comm::BatchTotal* total);
  void skip(const schedule::Action& action);
  FakeChunkState capture() const;
  void restore(const FakeChunkState& state);

  bool is_last() const { return is_last_; }
  LayerRange layers() const { return range_; }
  const FakeWeights& newest() const { return slots_.peek(slots_.newest()); }
  std::size_t in_flight() const { return in_flight_.size(); }

 private:
  using Slots = engine::WeightSlots<FakeWeights>;
  struct InFlight {
    FakeFlight value;
    std::optional<Slots::ReadLease> lease;  // where weights are stashed
  };

  std::deque<InFlight>::iterator find(const schedule::Action& action);
  FakeGradients& gradients_of(std::int64_t batch);
  void add(const Poison& poison, comm::Contribution& contribution) const;
  Payload through_layers(const FakeWeights& weights, Payload x, std::vector<Payload>* inputs) const;
  void finish(std::int64_t batch);

  const FakeModel& model_;
  const LayerRange range_;
  const bool is_first_;
  const bool is_last_;
  const bool stashes_;
  const int micro_batches_;
  Slots slots_;
  std::deque<InFlight> in_flight_;
  std::vector<FakeGradients> gradients_;
};

class FakeStage final : public engine::Stage<Payload> {
 public:
  struct Setup {
    int number = 0;
    schedule::PipelineShape shape;
    const schedule::Schedule* schedule = nullptr;
    const FakeModel* model = nullptr;
    comm::Reduction* reduction = nullptr;
    std::function<void(FakeState)> captured;
    const FakeState* restore = nullptr;
    /// Called in each of its functions that has an action, in start() and in finish().
    std::function<void(int stage, const schedule::Action&)> in_action;
    std::function<void(int stage)> in_start;
    std::function<void(int stage)> in_finish;
  };

  explicit FakeStage(Setup setup);

  void start() override;
  void finish() override;
  Payload forward(const schedule::Action& action, Payload input) override;
  Payload backward(const schedule::Action& action, Payload gradient) override;
  Payload backward_input(const schedule::Action& action, Payload gradient) override;
  void backward_weight(const schedule::Action& action) override;
  void contribute(const schedule::Action& action) override;
  void await_reduction(const schedule::Action& action) override;
  void update(const schedule::Action& action) override;
  Payload evaluate(const schedule::Action& action, Payload input) override;
  void capture(const schedule::Action& action) override;
  void in_transit(const schedule::Action& receive, const schedule::Action& origin,
                  const Payload& payload) override;

  std::deque<FakeChunk>& chunks() { return chunks_; }
  const FakeCounters& counters() const { return counters_; }
  /// Version and output of every evaluation, where the stage has the model's last piece.
  const std::vector<std::pair<std::int64_t, Payload>>& evaluations() const { return evaluations_; }

 private:
  FakeChunk& chunk_of(const schedule::Action& action) {
    return chunks_.at(static_cast<std::size_t>(action.chunk));
  }
  void enter(const schedule::Action& action) const;
  void check_in_flight() const;
  void deliver_capture();
  void restore(const FakeState& state);

  const Setup setup_;
  std::deque<FakeChunk> chunks_;
  std::map<std::int64_t, comm::Contribution> shares_;
  std::map<std::int64_t, bool> own_finite_;
  comm::BatchTotal total_;
  FakeCounters counters_;
  std::vector<std::pair<std::int64_t, Payload>> evaluations_;
  std::optional<FakeState> captured_;  // messages in transit may still come
};

}  // namespace penstock::tests
