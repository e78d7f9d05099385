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

// A model that needs no tensors: the weights of a piece are one integer w. Forward hands on
// x + w(version); the last piece turns it into the gradient g. Backward adds g times the number of
// the micro-batch to the piece's gradient and hands on 3 g + w(version), so that every version read
// shows in the result. An update adds the gradient and a number of the piece's own to w. The first
// and the last piece also share a weight: each has a gradient of it in its own memory, which the
// reduction sums up in both places, and each adds the sum to w. All arithmetic is exact, so a plain
// loop must give the same integers.
using Payload = std::int64_t;

struct FakeRun {
  std::string schedule = "2bw";
  schedule::PipelineShape shape{.stages = 2, .micro_batches = 2};
  std::int64_t batches = 20;
  bool random_delays = false;
  int fail_stage = -1;
  Action fail_at{};
  int fail_on_thread = -1;
};

constexpr std::int64_t modulus = 1'000'003;

std::int64_t next_weight(std::int64_t weight, std::int64_t gradient, int piece) {
  return (weight + gradient * (piece + 2) + 1) % modulus;
}
std::int64_t input_gradient(std::int64_t gradient, std::int64_t weight) {
  return (3 * gradient + weight) % modulus;
}

/// What one micro-batch adds to the shared weight's gradient at either end of the model.
float tied_input_share(std::int64_t gradient, std::int64_t micro_batch) {
  return static_cast<float>(gradient * (micro_batch + 1) % 97);
}
float tied_output_share(std::int64_t gradient, std::int64_t micro_batch) {
  return static_cast<float>(gradient * (micro_batch + 1) % 89);
}

constexpr std::size_t tied_size = 4;

struct Gradients {
  std::int64_t total = 0;
  std::array<float, tied_size> tied_input{};   // reduced in the first piece only
  std::array<float, tied_size> tied_output{};  // reduced in the last piece only
};

std::int64_t sum_of(const std::array<float, tied_size>& values) {
  return static_cast<std::int64_t>(std::accumulate(values.begin(), values.end(), 0.0F));
}

/// One piece of the model on a stage.
class FakeChunk {
 public:
  FakeChunk(int piece, int pieces, const schedule::Schedule& schedule,
            const schedule::StageLimits& limits)
      : is_first_(piece == 0),
        is_last_(piece + 1 == pieces),
        piece_(piece),
        stashes_(schedule.stashes_weights),
        slots_(std::vector<std::int64_t>(static_cast<std::size_t>(limits.versions), piece + 1)),
        gradients_(static_cast<std::size_t>(limits.gradient_buffers)) {}

  Payload forward(const Action& action, Payload input) {
    auto lease = slots_.read(action.version);
    const Payload output = (input + *lease) % modulus;
    auto& flight = in_flight_.emplace_back();
    flight.action = action;
    flight.output = output;
    if (stashes_) flight.lease.emplace(std::move(lease));
    return output;
  }

  Payload backward_input(const Action& action, Payload gradient) {
    auto& flight = of(action);
    flight.gradient = is_last_ ? flight.output : gradient;
    const std::int64_t weight = stashes_ ? **flight.lease : *slots_.read(action.version);
    flight.lease.reset();
    return input_gradient(flight.gradient, weight);
  }

  void backward_weight(const Action& action) {
    const Payload gradient = of(action).gradient;
    auto& sums = gradients_of(action.batch);
    sums.total = (sums.total + gradient * (action.micro_batch + 1)) % modulus;
    for (float& x : sums.tied_input) x += tied_input_share(gradient, action.micro_batch);
    for (float& x : sums.tied_output) x += tied_output_share(gradient, action.micro_batch);
    std::erase_if(in_flight_, [&](const InFlight& flight) { return same(flight.action, action); });
  }

  void contribute(std::int64_t batch, comm::Contribution& contribution) {
    if (is_first_) contribution.loss = 1;
    if (is_first_) contribution.tied_input = gradients_of(batch).tied_input;
    if (is_last_) contribution.tied_output = gradients_of(batch).tied_output;
  }

  void update(const Action& action) {
    auto& sums = gradients_of(action.batch);
    std::int64_t total = sums.total;
    if (is_first_) total += sum_of(sums.tied_input);
    if (is_last_) total += sum_of(sums.tied_output);
    auto lease = slots_.write(action.version);
    lease.next() = next_weight(lease.newest(), total, piece_);
    lease.publish();
    sums = {};
  }

  Payload evaluate(const Action& action, Payload input) {
    return (input + *slots_.read(action.version)) % modulus;
  }

  std::int64_t weight() { return *slots_.read(slots_.newest()); }
  bool is_last() const { return is_last_; }

 private:
  struct InFlight {
    Action action;
    std::optional<WeightSlots<std::int64_t>::ReadLease> lease;
    Payload output = 0;
    Payload gradient = 0;
  };

  static bool same(const Action& a, const Action& b) {
    return a.batch == b.batch && a.micro_batch == b.micro_batch;
  }
  InFlight& of(const Action& action) {
    const auto found = std::ranges::find_if(
        in_flight_, [&](const InFlight& flight) { return same(flight.action, action); });
    if (found == in_flight_.end()) throw std::logic_error("not in flight");
    return *found;
  }
  Gradients& gradients_of(std::int64_t batch) {
    return gradients_[static_cast<std::size_t>(batch) % gradients_.size()];
  }

  const bool is_first_;
  const bool is_last_;
  const int piece_;
  const bool stashes_;
  WeightSlots<std::int64_t> slots_;
  std::deque<InFlight> in_flight_;
  std::vector<Gradients> gradients_;
};

class FakeStage final : public Stage<Payload> {
 public:
  FakeStage(int number, const FakeRun& run, const schedule::Schedule& schedule,
            comm::Reduction& reduction)
      : number_(number), run_(run), reduction_(reduction), random_(static_cast<unsigned>(number)) {
    for (int c = 0; c < run.shape.chunks; ++c) {
      const int piece = schedule::piece_at(schedule.placement, run.shape, {number, c});
      chunks_.emplace_back(piece, run.shape.pieces(), schedule, schedule.limits(number, run.shape));
    }
  }

  Payload forward(const Action& action, Payload input) override {
    disturb(action);
    return chunk(action).forward(action, input);
  }
  Payload backward(const Action& action, Payload gradient) override {
    disturb(action);
    const Payload result = chunk(action).backward_input(action, gradient);
    chunk(action).backward_weight(action);
    return result;
  }
  Payload backward_input(const Action& action, Payload gradient) override {
    disturb(action);
    return chunk(action).backward_input(action, gradient);
  }
  void backward_weight(const Action& action) override {
    disturb(action);
    chunk(action).backward_weight(action);
  }
  void contribute(const Action& action) override {
    disturb(action);
    comm::Contribution contribution;
    for (auto& c : chunks_) c.contribute(action.batch, contribution);
    reduction_.contribute(action.batch, std::move(contribution));
  }
  void await_reduction(const Action& action) override {
    disturb(action);
    ASSERT_EQ(reduction_.wait(action.batch).loss, 1.0);
  }
  void update(const Action& action) override {
    disturb(action);
    for (auto& c : chunks_) c.update(action);
  }
  Payload evaluate(const Action& action, Payload input) override {
    disturb(action);
    const Payload output = chunk(action).evaluate(action, input);
    if (chunk(action).is_last()) evaluations.push_back({action.version, output});
    return output;
  }

  FakeChunk& chunk(int number) { return chunks_.at(static_cast<std::size_t>(number)); }
  std::vector<std::pair<std::int64_t, std::int64_t>> evaluations;

 private:
  FakeChunk& chunk(const Action& action) { return chunk(action.chunk); }

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
  std::deque<FakeChunk> chunks_;
  comm::Reduction& reduction_;
  std::mt19937 random_;
};

struct FakeResult {
  std::vector<std::int64_t> weights;                               // of the pieces
  std::vector<std::pair<std::int64_t, std::int64_t>> evaluations;  // version, output
};

/// The reduction of the fake model; only stages that update together have a sum of tied gradients.
comm::Reduction make_reduction(const FakeRun& run, const schedule::Schedule& schedule) {
  const bool tied = schedule.updates_together;
  return comm::Reduction({.stages = run.shape.stages,
                          .parameters = 1,
                          .tied_parameter = tied ? 0 : comm::Reduction::no_parameter,
                          .overlap = schedule.reductions(run.shape)});
}

FakeResult run_fake(const FakeRun& run, schedule::EvaluationPlan plan = {},
                    std::int64_t stop_after = -1) {
  const auto& schedule = schedule::find(run.schedule);
  auto reduction = make_reduction(run, schedule);
  comm::BatchGate gate(run.batches);
  std::deque<FakeStage> stages;
  std::deque<StageClock> clocks(static_cast<std::size_t>(run.shape.stages));
  StageThreads<Payload> threads{.stages = {},
                                .streams = {},
                                .shape = run.shape,
                                .placement = schedule.placement,
                                .same_versions = schedule.updates_together,
                                .clocks = &clocks};
  for (int s = 0; s < run.shape.stages; ++s) {
    threads.stages.push_back(&stages.emplace_back(s, run, schedule, reduction));
    const schedule::HasBatch has_batch = [&gate, s, stop_after](std::int64_t batch) {
      if (s == 0 && batch == stop_after) gate.request_stop();
      return s == 0 ? gate.decide(batch) : gate.wait(batch);
    };
    auto stream = schedule.generate(s, run.shape, has_batch);
    stream = schedule::with_evaluation(std::move(stream), plan, run.shape, has_batch);
    threads.streams.push_back(
        schedule::with_transfers(std::move(stream), s, run.shape, schedule.placement));
  }
  threads.on_thread = [&](int stage) {
    if (stage == run.fail_on_thread) throw std::runtime_error("a core is missing");
  };
  threads.close = [&] {
    reduction.close();
    gate.close();
  };
  run_stage_threads(std::move(threads));
  FakeResult result;
  for (int p = 0; p < run.shape.pieces(); ++p) {
    const auto [stage, chunk] = schedule::place_of(schedule.placement, run.shape, p);
    result.weights.push_back(stages[static_cast<std::size_t>(stage)].chunk(chunk).weight());
  }
  for (auto& stage : stages) {
    if (!stage.evaluations.empty()) result.evaluations = stage.evaluations;
  }
  return result;
}

/// Which version a stage reads in the forward and the backward of micro-batch i, counted over the
/// run: the definition of the schedule.
struct Definition {
  std::string schedule;
  std::function<std::int64_t(int stage, schedule::PipelineShape, std::int64_t i)> forward;
  std::function<std::int64_t(int stage, schedule::PipelineShape, std::int64_t i)> backward;
  bool tied = true;
};

const std::vector<Definition>& definitions() {
  const auto newest = [](int, schedule::PipelineShape shape, std::int64_t i) {
    return i / shape.micro_batches;
  };
  const auto one_older = [](int, schedule::PipelineShape shape, std::int64_t i) {
    return std::max<std::int64_t>(i / shape.micro_batches - 1, 0);
  };
  // FIFO delay of d-1-s micro-batches.
  const auto by_depth = [](int stage, schedule::PipelineShape shape, std::int64_t i) {
    return std::max<std::int64_t>(i - (shape.stages - 1 - stage), 0) / shape.micro_batches;
  };
  static const std::vector<Definition> all{{"1f1b", newest, newest},
                                           {"2bw", one_older, one_older},
                                           {"gpipe", newest, newest},
                                           {"interleaved", newest, newest},
                                           {"zb-h1", newest, newest},
                                           {"zb-v", newest, newest},
                                           {"pipedream", by_depth, by_depth, false},
                                           {"paci", by_depth, newest, false}};
  return all;
}

const Definition& definition(const std::string& schedule) {
  return *std::ranges::find(definitions(), schedule, &Definition::schedule);
}

/// The plain loop: one micro-batch after the other through all pieces, every version kept.
std::vector<std::int64_t> plain_loop(const FakeRun& run, const Definition& rule) {
  const auto& schedule = schedule::find(run.schedule);
  const auto pieces = static_cast<std::size_t>(run.shape.pieces());
  std::vector<std::vector<std::int64_t>> versions;  // of each piece
  std::vector<int> stage_of;
  for (int p = 0; p < run.shape.pieces(); ++p) {
    versions.push_back({p + 1});
    stage_of.push_back(schedule::place_of(schedule.placement, run.shape, p).stage);
  }
  for (std::int64_t batch = 0; batch < run.batches; ++batch) {
    std::vector<Gradients> sums(pieces);
    for (int j = 0; j < run.shape.micro_batches; ++j) {
      const std::int64_t i = batch * run.shape.micro_batches + j;
      std::int64_t x = 0;
      for (std::size_t p = 0; p < pieces; ++p) {
        x = (x +
             versions[p].at(static_cast<std::size_t>(rule.forward(stage_of[p], run.shape, i)))) %
            modulus;
      }
      for (std::size_t p = pieces; p-- > 0;) {
        sums[p].total = (sums[p].total + x * (j + 1)) % modulus;
        for (float& g : sums[p].tied_input) g += tied_input_share(x, j);
        for (float& g : sums[p].tied_output) g += tied_output_share(x, j);
        x = input_gradient(
            x, versions[p].at(static_cast<std::size_t>(rule.backward(stage_of[p], run.shape, i))));
      }
    }
    const std::int64_t tied_input = sum_of(sums.front().tied_input);
    const std::int64_t tied_output = sum_of(sums.back().tied_output);
    const std::int64_t both = tied_input + tied_output;
    for (std::size_t p = 0; p < pieces; ++p) {
      std::int64_t total = sums[p].total;
      if (p == 0) total += rule.tied ? both : tied_input;
      if (p + 1 == pieces) total += rule.tied ? both : tied_output;
      versions[p].push_back(next_weight(versions[p].back(), total, static_cast<int>(p)));
    }
  }
  std::vector<std::int64_t> newest;
  for (const auto& of_piece : versions) newest.push_back(of_piece.back());
  return newest;
}

std::vector<std::int64_t> plain_loop(const FakeRun& run) {
  return plain_loop(run, definition(run.schedule));
}

/// Shapes that the schedule takes, with more stages than cores among them.
std::vector<schedule::PipelineShape> shapes(const schedule::Schedule& schedule) {
  std::vector<schedule::PipelineShape> result;
  for (const int d : {1, 2, 3, 5, 8}) {
    for (const int m : {1, d, d + 1, 2 * d, 2 * d + 3}) {
      for (const int chunks : {1, 2, 3}) {
        const schedule::PipelineShape shape{d, m, chunks};
        if (schedule.complaint(shape).empty()) result.push_back(shape);
      }
    }
  }
  return result;
}

std::string text(const FakeRun& run) {
  return run.schedule + " d=" + std::to_string(run.shape.stages) +
         " m=" + std::to_string(run.shape.micro_batches) + " v=" + std::to_string(run.shape.chunks);
}

TEST(StageThreads, EveryScheduleEqualsItsPlainLoop) {
  for (const auto& schedule : schedule::registry()) {
    const auto all = shapes(schedule);
    EXPECT_GE(all.size(), 5U) << schedule.name;
    for (const auto shape : all) {
      const FakeRun run{.schedule = schedule.name, .shape = shape, .batches = 12};
      EXPECT_EQ(run_fake(run).weights, plain_loop(run)) << text(run);
    }
  }
}

TEST(StageThreads, EveryOtherDefinitionGivesOtherWeights) {
  for (const auto& rule : definitions()) {
    const int m = rule.schedule == "interleaved" ? 6 : 4;
    const auto chunks = schedule::find(rule.schedule).default_chunks;
    const FakeRun run{.schedule = rule.schedule, .shape = {3, m, chunks}, .batches = 12};
    const auto weights = run_fake(run).weights;
    int equal = 0;
    for (const auto& other : definitions()) {
      auto same_tie = other;
      same_tie.tied = rule.tied;
      equal += weights == plain_loop(run, same_tie) ? 1 : 0;
    }
    // The five synchronous schedules share one definition.
    const bool synchronous = schedule::find(rule.schedule).limits(0, run.shape).most_delay == 0;
    EXPECT_EQ(equal, synchronous ? 5 : 1) << rule.schedule;
  }
}

TEST(StageThreads, RandomDelaysChangeNothing) {
  for (const auto& schedule : schedule::registry()) {
    FakeRun run{.schedule = schedule.name,
                .shape = {4, 8, schedule.default_chunks},
                .batches = 10,
                .random_delays = true};
    const auto expected = plain_loop(run);
    for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(run_fake(run).weights, expected);
  }
}

TEST(StageThreads, EvaluationSeesTheNewestWeightsOfEveryStage) {
  for (const auto& schedule : schedule::registry()) {
    const FakeRun run{
        .schedule = schedule.name, .shape = {3, 6, schedule.default_chunks}, .batches = 10};
    // More validation micro-batches than a group holds.
    const auto result = run_fake(run, {.every = 3, .micro_batches = 7});
    std::vector<std::pair<std::int64_t, std::int64_t>> expected;
    for (const std::int64_t version : {3, 6, 9, 10}) {
      FakeRun shorter = run;
      shorter.batches = version;
      const auto weights = plain_loop(shorter);
      const auto sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0}) % modulus;
      expected.insert(expected.end(), 7, {version, sum});
    }
    EXPECT_EQ(result.evaluations, expected) << schedule.name;
    EXPECT_EQ(result.weights, plain_loop(run)) << schedule.name;
  }
}

TEST(StageThreads, AStopFinishesEveryStartedBatch) {
  for (const auto& schedule : schedule::registry()) {
    FakeRun run{
        .schedule = schedule.name, .shape = {3, 3, schedule.default_chunks}, .batches = 1000};
    const auto stopped = run_fake(run, {}, 7).weights;
    run.batches = 7;
    EXPECT_EQ(stopped, plain_loop(run)) << schedule.name;
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
    case contribute:
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
      FakeRun run{.shape = {3, 4}, .batches = 1000000};
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
    const FakeRun run{.shape = {3, 4}, .batches = 1000000, .fail_on_thread = stage};
    try {
      run_fake(run);
      FAIL() << "the failure was lost";
    } catch (const std::runtime_error& failure) {
      EXPECT_STREQ(failure.what(), "a core is missing");
    }
  }
}

TEST(StageThreads, AVersionThatIsNotThereIsRefusedByTheSlots) {
  const FakeRun run{.shape = {1, 2}, .batches = 6};
  for (const std::int64_t shift : {-1, 1}) {
    const auto& schedule = schedule::find(run.schedule);
    auto reduction = make_reduction(run, schedule);
    FakeStage stage(0, run, schedule, reduction);
    std::deque<StageClock> clocks(1);
    StageThreads<Payload> threads{
        .stages = {&stage}, .streams = {}, .shape = run.shape, .clocks = &clocks};
    auto stream = schedule.generate(0, run.shape, [](std::int64_t batch) { return batch < 6; });
    threads.streams.push_back(tests::with_wrong_version(std::move(stream), 4, shift));
    // Batch 4 should read W(3). A single stage keeps one version: W(2) is gone, W(4) to come.
    EXPECT_THROW(run_stage_threads(std::move(threads)), StageFailure);
  }
}

TEST(StageThreads, AFailedRunIsRecordedUpToItsFailure) {
  FakeRun run{.shape = {1, 2}, .batches = 1000};
  run.fail_stage = 0;
  run.fail_at = {schedule::ActionKind::forward, 5, 1, 4};
  const auto& schedule = schedule::find(run.schedule);
  auto reduction = make_reduction(run, schedule);
  FakeStage stage(0, run, schedule, reduction);
  std::deque<StageClock> clocks(1);
  std::vector<timeline::Span> spans;
  std::deque<SpanRecorder> recorders;
  recorders.emplace_back(std::chrono::steady_clock::now(), [&](auto block) {
    spans.insert(spans.end(), block.begin(), block.end());
  });
  StageThreads<Payload> threads{.stages = {&stage},
                                .streams = {},
                                .shape = run.shape,
                                .clocks = &clocks,
                                .recorders = &recorders};
  threads.streams.push_back(schedule.generate(0, run.shape, [](std::int64_t) { return true; }));
  EXPECT_THROW(run_stage_threads(std::move(threads)), StageFailure);
  ASSERT_FALSE(spans.empty());
  const Action last{schedule::ActionKind::backward, 5, 0, 4};
  EXPECT_EQ(spans.back().action, last);
}

TEST(StageThreads, ARecordedRunHasEveryActionInOrderOfTime) {
  const FakeRun run{.schedule = "zb-v", .shape = {2, 4, 2}, .batches = 3, .random_delays = true};
  const auto& schedule = schedule::find(run.schedule);
  auto reduction = make_reduction(run, schedule);
  std::deque<FakeStage> stages;
  std::deque<StageClock> clocks(2);
  std::vector<std::vector<timeline::Span>> spans(2);
  std::deque<SpanRecorder> recorders;
  std::vector<std::vector<Action>> planned(2);
  StageThreads<Payload> threads{.stages = {},
                                .streams = {},
                                .shape = run.shape,
                                .placement = schedule.placement,
                                .clocks = &clocks,
                                .recorders = &recorders};
  const auto stream_of = [&](int s) {
    return schedule::with_transfers(
        schedule.generate(s, run.shape, [](std::int64_t batch) { return batch < 3; }), s, run.shape,
        schedule.placement);
  };
  for (int s = 0; s < 2; ++s) {
    const auto i = static_cast<std::size_t>(s);
    threads.stages.push_back(&stages.emplace_back(s, run, schedule, reduction));
    threads.streams.push_back(stream_of(s));
    recorders.emplace_back(std::chrono::steady_clock::now(), [&, i](auto block) {
      spans[i].insert(spans[i].end(), block.begin(), block.end());
    });
    auto plan = stream_of(s);
    while (const auto action = plan.next()) planned[i].push_back(*action);
  }
  run_stage_threads(std::move(threads));
  double transfer = 0;
  for (std::size_t s = 0; s < 2; ++s) {
    ASSERT_EQ(spans[s].size(), planned[s].size());
    double before = 0;
    for (std::size_t i = 0; i < spans[s].size(); ++i) {
      const auto& span = spans[s][i];
      EXPECT_EQ(span.action, planned[s][i]);
      EXPECT_LE(before, span.begin);
      EXPECT_LE(span.begin, span.end);
      EXPECT_GE(span.transfer, 0);
      EXPECT_LE(span.transfer, span.seconds() + 1e-12);  // rounding
      before = span.end;
      transfer += span.transfer;
    }
  }
  EXPECT_GT(transfer, 0);
}

}  // namespace
}  // namespace penstock::engine
