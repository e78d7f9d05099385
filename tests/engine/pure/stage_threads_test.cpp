#include "engine/stage_threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <random>

#include "comm/batch_gate.h"
#include "comm/reduction.h"
#include "engine/weight_slots.h"
#include "schedule/lowering.h"

namespace penstock::engine {
namespace {

using schedule::Action;

// A model that needs no tensors: the weights of stage s are one integer w_s. Forward computes
// x' = x + w_s(version); at the last stage the sum of all weights comes out, and every backward
// hands that sum back. An update adds the batch's sum and a stage-dependent number to w_s. All
// arithmetic is exact, so one stage computed by a plain loop must give the same integers.
using Payload = std::int64_t;

struct FakeRun {
  int stages = 2;
  int micro_batches = 2;
  std::int64_t batches = 20;
  std::string schedule = "2bw";
  bool random_delays = false;
  int fail_stage = -1;
  Action fail_at{};
};

constexpr std::int64_t modulus = 1'000'003;

std::int64_t next_weight(std::int64_t weight, std::int64_t gradient, int stage) {
  return (weight + gradient * (stage + 2) + 1) % modulus;
}

class FakeStage final : public Stage<Payload> {
 public:
  FakeStage(int number, const FakeRun& run, const schedule::Schedule& schedule,
            comm::Reduction& reduction)
      : number_(number),
        run_(run),
        slots_(std::vector<std::int64_t>(static_cast<std::size_t>(schedule.versions), number + 1)),
        gradients_(static_cast<std::size_t>(schedule.gradient_buffers), 0),
        reduction_(reduction),
        random_(static_cast<unsigned>(number)) {}

  Payload forward(const Action& action, Payload input) override {
    disturb(action);
    auto lease = slots_.read(action.version);
    const Payload output = (input + *lease) % modulus;
    in_flight_.push_back({std::move(lease), output});
    return output;
  }

  Payload backward(const Action& action, Payload gradient) override {
    disturb(action);
    const bool last = number_ + 1 == run_.stages;
    const Payload sum = last ? in_flight_.front().output : gradient;
    in_flight_.pop_front();
    auto& total = gradients_[static_cast<std::size_t>(action.batch) % gradients_.size()];
    total = (total + sum * (action.micro_batch + 1)) % modulus;
    return sum;
  }

  void contribute(const Action& action) override {
    disturb(action);
    comm::Contribution contribution;
    contribution.loss = number_ == 0 ? 1.0 : 0.0;
    reduction_.contribute(action.batch, std::move(contribution));
  }

  void await_reduction(const Action& action) override {
    ASSERT_EQ(reduction_.wait(action.batch).loss, 1.0);
  }

  void update(const Action& action) override {
    disturb(action);
    auto& gradient = gradients_[static_cast<std::size_t>(action.batch) % gradients_.size()];
    auto lease = slots_.write(action.version);
    lease.next() = next_weight(lease.newest(), gradient, number_);
    lease.publish();
    gradient = 0;
  }

  Payload evaluate(const Action& action, Payload input) override {
    disturb(action);
    const Payload output = (input + *slots_.read(action.version)) % modulus;
    evaluations.push_back({action.version, output});
    return output;
  }

  std::int64_t weight() { return *slots_.read(slots_.newest()); }
  std::vector<std::pair<std::int64_t, std::int64_t>> evaluations;

 private:
  struct InFlight {
    WeightSlots<std::int64_t>::ReadLease lease;
    Payload output;
  };

  void disturb(const Action& action) {
    if (run_.random_delays) {
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 50));
    }
    if (number_ == run_.fail_stage && action == run_.fail_at) {
      throw std::runtime_error("a bearing broke");
    }
  }

  const int number_;
  const FakeRun& run_;
  WeightSlots<std::int64_t> slots_;
  std::deque<InFlight> in_flight_;
  std::vector<std::int64_t> gradients_;
  comm::Reduction& reduction_;
  std::mt19937 random_;
};

struct FakeResult {
  std::vector<std::int64_t> weights;
  std::vector<std::pair<std::int64_t, std::int64_t>> evaluations;  // of the last stage
};

FakeResult run_fake(const FakeRun& run, schedule::EvaluationPlan plan = {},
                    std::int64_t stop_after = -1) {
  const auto& schedule = schedule::find(run.schedule);
  comm::Reduction reduction(run.stages, 0);
  comm::BatchGate gate(run.batches);
  std::deque<FakeStage> stages;
  std::vector<Stage<Payload>*> workers;
  std::vector<schedule::StreamPtr> streams;
  for (int s = 0; s < run.stages; ++s) {
    workers.push_back(&stages.emplace_back(s, run, schedule, reduction));
    const schedule::HasBatch has_batch = [&gate, s, stop_after](std::int64_t batch) {
      if (s == 0 && batch == stop_after) gate.request_stop();
      return s == 0 ? gate.decide(batch) : gate.wait(batch);
    };
    auto stream = schedule.generate(s, {run.stages, run.micro_batches}, has_batch);
    stream = schedule::with_evaluation(std::move(stream), plan, has_batch);
    streams.push_back(schedule::with_transfers(std::move(stream), s, run.stages));
  }
  std::deque<StageClock> clocks(static_cast<std::size_t>(run.stages));
  run_stage_threads<Payload>(
      workers, std::move(streams), clocks, [](int) {},
      [&] {
        reduction.close();
        gate.close();
      });
  FakeResult result;
  for (auto& stage : stages) result.weights.push_back(stage.weight());
  result.evaluations = stages.back().evaluations;
  return result;
}

/// The definition: batch b reads W(max(b - delay, 0)) everywhere, W(b+1) is made from batch b.
std::vector<std::int64_t> plain_loop(const FakeRun& run, std::int64_t delay) {
  std::vector<std::vector<std::int64_t>> versions(1);
  for (int s = 0; s < run.stages; ++s) versions[0].push_back(s + 1);
  for (std::int64_t batch = 0; batch < run.batches; ++batch) {
    const auto& read = versions[static_cast<std::size_t>(std::max<std::int64_t>(batch - delay, 0))];
    const std::int64_t sum = std::accumulate(read.begin(), read.end(), std::int64_t{0}) % modulus;
    std::int64_t gradient = 0;
    for (int j = 1; j <= run.micro_batches; ++j) gradient = (gradient + sum * j) % modulus;
    auto next = versions.back();
    for (int s = 0; s < run.stages; ++s) {
      auto& weight = next[static_cast<std::size_t>(s)];
      weight = next_weight(weight, gradient, s);
    }
    versions.push_back(std::move(next));
  }
  return versions.back();
}

TEST(StageThreads, EveryScheduleEqualsItsPlainLoop) {
  for (const auto& schedule : schedule::registry()) {
    for (const int stages : {1, 2, 3, 5, 8}) {
      for (const int micro_batches : {stages, stages + 1, 2 * stages + 3}) {
        const FakeRun run{.stages = stages,
                          .micro_batches = micro_batches,
                          .batches = 12,
                          .schedule = std::string(schedule.name)};
        EXPECT_EQ(run_fake(run).weights, plain_loop(run, schedule.delay))
            << schedule.name << " d=" << stages << " m=" << micro_batches;
      }
    }
  }
}

TEST(StageThreads, ADelayIsVisibleInTheResult) {
  const FakeRun run{.batches = 12, .schedule = "2bw"};
  EXPECT_NE(run_fake(run).weights, plain_loop(run, 0));
}

TEST(StageThreads, RandomDelaysChangeNothing) {
  FakeRun run{.stages = 4, .micro_batches = 5, .batches = 30, .schedule = "2bw"};
  run.random_delays = true;
  const auto expected = plain_loop(run, 1);
  for (int repeat = 0; repeat < 5; ++repeat) EXPECT_EQ(run_fake(run).weights, expected);
}

TEST(StageThreads, EvaluationSeesTheNewestWeightsOfEveryStage) {
  for (const auto& schedule : schedule::registry()) {
    const FakeRun run{
        .stages = 3, .micro_batches = 4, .batches = 10, .schedule = std::string(schedule.name)};
    const auto result = run_fake(run, {.every = 3, .micro_batches = 2});
    std::vector<std::pair<std::int64_t, std::int64_t>> expected;
    for (const std::int64_t version : {3, 6, 9, 10}) {
      FakeRun shorter = run;
      shorter.batches = version;
      const auto weights = plain_loop(shorter, schedule.delay);
      const auto sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0}) % modulus;
      expected.insert(expected.end(), 2, {version, sum});
    }
    EXPECT_EQ(result.evaluations, expected) << schedule.name;
    EXPECT_EQ(result.weights, plain_loop(run, schedule.delay)) << schedule.name;
  }
}

TEST(StageThreads, AStopFinishesEveryStartedBatch) {
  for (const auto& schedule : schedule::registry()) {
    FakeRun run{
        .stages = 3, .micro_batches = 3, .batches = 1000, .schedule = std::string(schedule.name)};
    const auto stopped = run_fake(run, {}, 7).weights;
    run.batches = 7;
    EXPECT_EQ(stopped, plain_loop(run, schedule.delay)) << schedule.name;
  }
}

TEST(StageThreads, AFailureAnywhereEndsTheRunAndNamesThePlace) {
  using enum schedule::ActionKind;
  for (const auto kind : {forward, backward, contribute, update}) {
    for (const int stage : {0, 1, 2}) {
      FakeRun run{.stages = 3, .micro_batches = 4, .batches = 1000000, .schedule = "2bw"};
      run.fail_stage = stage;
      run.fail_at = {kind, 5, kind == forward || kind == backward ? 2 : 0, kind == update ? 6 : 4};
      try {
        run_fake(run);
        FAIL() << "the failure was lost";
      } catch (const StageFailure& failure) {
        const std::string text = failure.what();
        EXPECT_TRUE(text.starts_with("[engine] stage " + std::to_string(stage) + ", " +
                                     schedule::describe(run.fail_at)))
            << text;
        EXPECT_TRUE(text.ends_with(": a bearing broke")) << text;
        EXPECT_THROW(std::rethrow_if_nested(failure), std::runtime_error);
      }
    }
  }
}

/// Shifts the version of one batch's reads on a stage: what a wrong schedule would do.
class WrongVersion final : public schedule::ActionStream {
 public:
  WrongVersion(schedule::StreamPtr inner, std::int64_t batch, std::int64_t shift)
      : inner_(std::move(inner)), batch_(batch), shift_(shift) {}
  std::optional<Action> next() override {
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

TEST(StageThreads, AVersionThatIsNotThereIsRefusedByTheSlots) {
  const FakeRun run{.stages = 1, .micro_batches = 2, .batches = 6, .schedule = "2bw"};
  for (const std::int64_t shift : {-1, 1}) {
    const auto& schedule = schedule::find("2bw");
    comm::Reduction reduction(1, 0);
    FakeStage stage(0, run, schedule, reduction);
    const schedule::HasBatch has_batch = [](std::int64_t batch) { return batch < 6; };
    std::vector<schedule::StreamPtr> streams;
    streams.push_back(schedule::with_transfers(
        std::make_unique<WrongVersion>(schedule.generate(0, {1, 2}, has_batch), 4, shift), 0, 1));
    std::deque<StageClock> clocks(1);
    const auto go = [&] {
      run_stage_threads<Payload>(
          {&stage}, std::move(streams), clocks, [](int) {}, [] {});
    };
    // Batch 4 should read W(3). W(2) is still in its slot: reading it is a delay of two, which the
    // result shows; W(4) is not written yet, which the slots refuse.
    if (shift > 0) {
      EXPECT_THROW(go(), StageFailure);
    } else {
      go();
      EXPECT_NE(stage.weight(), plain_loop(run, 1)[0]);
    }
  }
}

}  // namespace
}  // namespace penstock::engine
