#include "engine/stage_threads.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <numeric>
#include <random>

#include "comm/batch_gate.h"
#include "comm/reduction.h"
#include "engine/weight_slots.h"
#include "engine/wrong_version.h"
#include "schedule/lowering.h"

namespace penstock::engine {
namespace {

using schedule::Action;

// A model that needs no tensors: the weights of stage s are one integer w_s. Forward computes
// x' = x + w_s(version); at the last stage the sum of all weights comes out, and every backward
// hands that sum back. An update adds the batch's sum and a stage-dependent number to w_s. The
// first and the last stage also share a weight: each has a gradient of it in its own memory, which
// the reduction sums up in both places, and each adds the sum to w_s. All arithmetic is exact, so
// one stage computed by a plain loop must give the same integers.
using Payload = std::int64_t;

struct FakeRun {
  int stages = 2;
  int micro_batches = 2;
  std::int64_t batches = 20;
  std::string schedule = "2bw";
  bool random_delays = false;
  int fail_stage = -1;
  Action fail_at{};
  int fail_on_thread = -1;
};

constexpr std::int64_t modulus = 1'000'003;

std::int64_t next_weight(std::int64_t weight, std::int64_t gradient, int stage) {
  return (weight + gradient * (stage + 2) + 1) % modulus;
}

/// What one micro-batch adds to the shared weight's gradient at either end of the pipeline.
float tied_input_share(std::int64_t sum, std::int64_t micro_batch) {
  return static_cast<float>(sum * (micro_batch + 1) % 97);
}
float tied_output_share(std::int64_t sum, std::int64_t micro_batch) {
  return static_cast<float>(sum * (micro_batch + 1) % 89);
}

class FakeStage final : public Stage<Payload> {
 public:
  FakeStage(int number, const FakeRun& run, const schedule::Schedule& schedule,
            comm::Reduction& reduction)
      : number_(number),
        run_(run),
        slots_(std::vector<std::int64_t>(static_cast<std::size_t>(schedule.versions), number + 1)),
        gradients_(static_cast<std::size_t>(schedule.gradient_buffers)),
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
    const Payload sum = is_last() ? in_flight_.front().output : gradient;
    in_flight_.pop_front();
    auto& gradients = gradients_of(action.batch);
    gradients.total = (gradients.total + sum * (action.micro_batch + 1)) % modulus;
    for (float& x : gradients.tied_input) x += tied_input_share(sum, action.micro_batch);
    for (float& x : gradients.tied_output) x += tied_output_share(sum, action.micro_batch);
    return sum;
  }

  void contribute(const Action& action) override {
    disturb(action);
    comm::Contribution contribution;
    contribution.loss = is_first() ? 1.0 : 0.0;
    if (is_first()) contribution.tied_input = gradients_of(action.batch).tied_input;
    if (is_last()) contribution.tied_output = gradients_of(action.batch).tied_output;
    reduction_.contribute(action.batch, std::move(contribution));
  }

  void await_reduction(const Action& action) override {
    disturb(action);
    ASSERT_EQ(reduction_.wait(action.batch).loss, 1.0);
  }

  void update(const Action& action) override {
    disturb(action);
    auto& gradients = gradients_of(action.batch);
    std::int64_t total = gradients.total;
    if (is_first()) total += sum_of(gradients.tied_input);
    if (is_last()) total += sum_of(gradients.tied_output);
    auto lease = slots_.write(action.version);
    lease.next() = next_weight(lease.newest(), total, number_);
    lease.publish();
    gradients = {};
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
  static constexpr std::size_t tied_size = 4;
  struct Gradients {
    std::int64_t total = 0;
    std::array<float, tied_size> tied_input{};   // reduced on the first stage only
    std::array<float, tied_size> tied_output{};  // reduced on the last stage only
  };

  bool is_first() const { return number_ == 0; }
  bool is_last() const { return number_ + 1 == run_.stages; }
  Gradients& gradients_of(std::int64_t batch) {
    return gradients_[static_cast<std::size_t>(batch) % gradients_.size()];
  }
  static std::int64_t sum_of(const std::array<float, tied_size>& values) {
    return static_cast<std::int64_t>(std::accumulate(values.begin(), values.end(), 0.0F));
  }

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
  std::vector<Gradients> gradients_;
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
  comm::Reduction reduction(run.stages, 1, 0);
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
      workers, std::move(streams), clocks,
      [&](int stage) {
        if (stage == run.fail_on_thread) throw std::runtime_error("a core is missing");
      },
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
    float tied = 0;
    for (int j = 0; j < run.micro_batches; ++j) {
      gradient = (gradient + sum * (j + 1)) % modulus;
      tied += tied_input_share(sum, j) + tied_output_share(sum, j);
    }
    const auto tied_total = 4 * static_cast<std::int64_t>(tied);
    auto next = versions.back();
    for (int s = 0; s < run.stages; ++s) {
      const int ends = (s == 0 ? 1 : 0) + (s + 1 == run.stages ? 1 : 0);
      auto& weight = next[static_cast<std::size_t>(s)];
      weight = next_weight(weight, gradient + ends * tied_total, s);
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

/// An action of this kind in the midst of a 2bw run that evaluates W(5).
Action place(schedule::ActionKind kind) {
  using enum schedule::ActionKind;
  switch (kind) {
    case forward:
    case backward:
      return {kind, 5, 2, 4};
    case evaluate:
      return {kind, 5, 1, 5};
    case await_reduction:
    case update:
      return {kind, 5, 0, 6};
    default:
      return {kind, 5, 0, 4};
  }
}

TEST(StageThreads, AFailureAnywhereEndsTheRunAndNamesThePlace) {
  using enum schedule::ActionKind;
  for (const auto kind : {forward, backward, contribute, await_reduction, update, evaluate}) {
    for (const int stage : {0, 1, 2}) {
      FakeRun run{.stages = 3, .micro_batches = 4, .batches = 1000000, .schedule = "2bw"};
      run.fail_stage = stage;
      run.fail_at = place(kind);
      try {
        run_fake(run, {.every = 5, .micro_batches = 2});
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

TEST(StageThreads, AThreadThatCannotBePreparedEndsTheRun) {
  for (const int stage : {0, 1, 2}) {
    const FakeRun run{.stages = 3, .micro_batches = 4, .batches = 1000000, .fail_on_thread = stage};
    try {
      run_fake(run);
      FAIL() << "the failure was lost";
    } catch (const std::runtime_error& failure) {
      EXPECT_STREQ(failure.what(), "a core is missing");
    }
  }
}

TEST(StageThreads, AVersionThatIsNotThereIsRefusedByTheSlots) {
  const FakeRun run{.stages = 1, .micro_batches = 2, .batches = 6, .schedule = "2bw"};
  for (const std::int64_t shift : {-1, 1}) {
    const auto& schedule = schedule::find("2bw");
    comm::Reduction reduction(1, 1, 0);
    FakeStage stage(0, run, schedule, reduction);
    const schedule::HasBatch has_batch = [](std::int64_t batch) { return batch < 6; };
    std::vector<schedule::StreamPtr> streams;
    streams.push_back(schedule::with_transfers(
        std::make_unique<tests::WrongVersion>(schedule.generate(0, {1, 2}, has_batch), 4, shift), 0,
        1));
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
