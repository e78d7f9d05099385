#include "simulate/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include "base/error.h"
#include "schedule/compute.h"
#include "simulate/simulated.h"

namespace penstock::simulate {
namespace {

using schedule::Action;
using schedule::ActionKind;
using schedule::PipelineShape;
using schedule::Schedule;
using timeline::Span;
using timeline::Timeline;
using timeline::Usage;
using enum schedule::ActionKind;

// ---- what is derived from the times

struct Bounds {
  double from = 0;
  double to = 0;
};

Bounds window_of(const std::vector<Span>& spans, const Result& result) {
  Bounds bounds{0, result.total_time};
  for (const Span& span : spans) {
    if (span.action.kind != contribute || result.window_first < 0) continue;
    if (span.action.batch == result.window_first) bounds.from = span.end;
    if (span.action.batch == result.window_last) bounds.to = span.end;
  }
  return bounds;
}

TEST(Simulate, TimeIsConservedAndCausesAreThoseOfTheSpans) {
  std::mt19937 random(11);
  for (const auto& [schedule, shape] : cases(4, 6)) {
    for (const std::int64_t batches : {1, 9}) {
      SCOPED_TRACE(testing::Message() << schedule->name << " d=" << shape.stages
                                      << " m=" << shape.micro_batches << " batches=" << batches);
      const Costs costs = random_costs(shape, random);
      const Result result = run(*schedule, shape, costs, batches, true);
      for (int s = 0; s < shape.stages; ++s) {
        const Bounds bounds = window_of(result.timeline->stages[size(s)], result);
        const Usage expected = usage(*result.timeline, bounds.from, bounds.to)[size(s)];
        const Usage& actual = result.stages[size(s)].usage;
        EXPECT_EQ(actual.work, expected.work);
        EXPECT_EQ(actual.wait_activation, expected.wait_activation);
        EXPECT_EQ(actual.wait_gradient, expected.wait_gradient);
        EXPECT_EQ(actual.wait_update, expected.wait_update);
        EXPECT_EQ(actual.transfer, expected.transfer);
        EXPECT_EQ(actual.blocked, expected.blocked);
        EXPECT_EQ(actual.idle, expected.idle);
        EXPECT_EQ(actual.seconds(), bounds.to - bounds.from);
        EXPECT_EQ(result.stages[size(s)].bubble_fraction, actual.bubble() / actual.seconds());
      }
    }
  }
}

TEST(Simulate, TheWindowLeavesFillAndDrainOut) {
  using Window = std::pair<std::int64_t, std::int64_t>;
  const auto window = [](const char* name, PipelineShape shape, std::int64_t batches) {
    const Result result = run(name, shape, textbook(shape), batches);
    return Window(result.window_first, result.window_last);
  };
  EXPECT_EQ(window("2bw", {4, 8}, 1), Window(-1, 0));
  EXPECT_EQ(window("2bw", {4, 8}, 2), Window(-1, 1));
  EXPECT_EQ(window("2bw", {4, 8}, 3), Window(0, 1));
  EXPECT_EQ(window("2bw", {1, 8}, 8), Window(2, 7));  // one stage never waits
  EXPECT_EQ(window("2bw", {4, 8}, 8), Window(2, 6));
  EXPECT_EQ(window("2bw", {4, 8}, 100), Window(25, 98));
  EXPECT_EQ(window("pipedream", {7, 2}, 8), Window(2, 4));  // runs up to 3 batches ahead
}

TEST(Simulate, PeaksAreThoseOfTheActivationsHeld) {
  std::mt19937 random(13);
  for (const auto& [schedule, shape] : cases(4, 6)) {
    SCOPED_TRACE(testing::Message()
                 << schedule->name << " d=" << shape.stages << " m=" << shape.micro_batches);
    const Costs costs = random_costs(shape, random);
    const Result result = run(*schedule, shape, costs, 5, true);
    for (int s = 0; s < shape.stages; ++s) {
      const StageCosts& stage = costs.stages[size(s)];
      std::map<std::tuple<std::int64_t, std::int64_t, int>, double> held;
      double most = 0;
      std::size_t count = 0;
      for (const Span& span : result.timeline->stages[size(s)]) {
        const Action& a = span.action;
        const auto key = std::tuple(a.batch, a.micro_batch, a.chunk);
        if (a.kind == forward) held[key] = stage.chunks[size(a.chunk)].activation_bytes;
        if (a.kind == backward || a.kind == backward_weight) held.erase(key);
        double bytes = 0;
        for (const auto& [micro_batch, each] : held) bytes += each;
        most = std::max(most, bytes);
        count = std::max(count, held.size());
      }
      const auto limits = schedule->limits(s, shape);
      EXPECT_EQ(result.stages[size(s)].peak_in_flight, static_cast<std::int64_t>(count));
      EXPECT_LE(result.stages[size(s)].peak_in_flight, limits.in_flight);
      EXPECT_EQ(result.stages[size(s)].peak_bytes,
                most + limits.versions * stage.weight_bytes +
                    limits.gradient_buffers * stage.gradient_bytes + stage.optimizer_bytes);
    }
  }
}

TEST(Simulate, MessagesOfOneDirectionQueueForTheirLink) {
  // One batch of three micro-batches through two stages; F takes 1, a message occupies the link for
  // 4 and arrives 2 later: at 1+4+2, then every 4. Work behind the messages takes no time.
  const PipelineShape shape{2, 3};
  Costs costs = textbook(shape);
  for (StageCosts& stage : costs.stages) stage.chunks[0].backward = 0;
  costs.stages[1].chunks[0].forward = 0;
  costs.message_bytes = 8;
  costs.link = {.latency = 2, .bandwidth = 2};
  const Result result = run("gpipe", shape, costs, 1, true);
  std::vector<double> activations;
  for (const Span& span : result.timeline->stages[1]) {
    if (span.action.kind == receive_activation) activations.push_back(span.end);
  }
  EXPECT_EQ(activations, (std::vector<double>{7, 11, 15}));
  const Usage& last = result.stages[1].usage;
  EXPECT_EQ(last.wait_activation, 1);  // until the first one was made
  EXPECT_EQ(last.transfer, 14);
}

TEST(Simulate, AFullEdgeBlocksItsSender) {
  // Stage 1 is slow: stage 0 has sent three activations and then waits for room.
  const PipelineShape shape{2, 8};
  Costs costs = textbook(shape);
  costs.stages[1].chunks[0].forward = 10;
  const Result result = run("gpipe", shape, costs, 1, true);
  std::vector<double> sent;
  for (const Span& span : result.timeline->stages[0]) {
    if (span.action.kind == send_activation) sent.push_back(span.end);
  }
  // Stage 1 takes messages at 1, 11, 21, ...; message k has room once message k - 2 was taken.
  EXPECT_EQ(sent, (std::vector<double>{1, 2, 3, 11, 21, 31, 41, 51}));
  EXPECT_EQ(result.stages[0].usage.blocked, 7 + 9 + 9 + 9 + 9);
}

TEST(Simulate, MemoryDoesNotGrowWithTheRun) {
  const PipelineShape shape{2, 2};
  const Costs costs = textbook(shape);
  run("2bw", shape, costs, 100);
  const auto peak_kibibytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = peak_kibibytes();
  const Result result = run("2bw", shape, costs, 200000);
  // 16 bytes kept per batch would be seen.
  EXPECT_LT(peak_kibibytes() - before, 200000 * 16 / 1024);
  EXPECT_GT(result.actions, 4000000);
}

// ---- disturbances

TEST(Simulate, AStragglerSetsThePace) {
  const PipelineShape shape{4, 8};
  Costs costs = textbook(shape);
  costs.stages[2].slowdown = 2;
  const Result result = run("2bw", shape, costs, 16);
  EXPECT_EQ(result.step_time, 48);
  EXPECT_EQ(result.stages[2].bubble_fraction, 0);
  EXPECT_EQ(result.stages[0].bubble_fraction, 0.5);
}

TEST(Simulate, TheSameSeedGivesTheSameRun) {
  const PipelineShape shape{4, 8};
  Costs costs = textbook(shape);
  costs.jitter = 0.25;
  costs.seed = 3;
  const Result once = run("1f1b", shape, costs);
  const Result again = run("1f1b", shape, costs);
  EXPECT_EQ(once.total_time, again.total_time);
  costs.seed = 4;
  EXPECT_NE(run("1f1b", shape, costs).total_time, once.total_time);
}

TEST(Simulate, RandomDurationsBelongToTheActionWhateverTheSchedule) {
  const PipelineShape shape{3, 6};
  Costs costs = textbook(shape);
  costs.jitter = 0.25;
  const auto durations = [&](const char* name) {
    std::map<std::tuple<int, ActionKind, std::int64_t, std::int64_t>, double> seconds;
    const Result result = run(name, shape, costs, 3, true);
    for (int s = 0; s < shape.stages; ++s) {
      for (const Span& span : result.timeline->stages[size(s)]) {
        const Action& a = span.action;
        if (a.kind != forward && a.kind != backward) continue;
        seconds[{s, a.kind, a.batch, a.micro_batch}] = span.seconds();
      }
    }
    return seconds;
  };
  const auto flushed = durations("gpipe");
  const auto unflushed = durations("2bw");
  ASSERT_EQ(flushed.size(), 2U * 3 * 6 * 3);
  for (const auto& [action, seconds] : flushed) {
    // Differences of times up to 100 s: each end is rounded by at most 2^-47.
    EXPECT_NEAR(unflushed.at(action), seconds, 0x1.0p-45);
  }
}

TEST(Simulate, JitterCostsAFlushedScheduleMoreThanTheMeanOfItsWork) {
  const PipelineShape shape{4, 8};
  Costs costs = textbook(shape);
  costs.jitter = 0.25;
  EXPECT_GT(run("1f1b", shape, costs, 64).step_time, 33);
  EXPECT_GT(run("2bw", shape, costs, 64).step_time, 24);
  // One stage: nobody to wait for. 64 batches of 8 pairs: the mean of a batch has a standard
  // deviation of 0.25 * sqrt(8 * (1 + 4) / 47), five of them are below 1.2.
  costs = textbook({1, 8});
  costs.jitter = 0.25;
  EXPECT_NEAR(run("1f1b", {1, 8}, costs, 64).step_time, 24, 1.2);
  EXPECT_NE(run("1f1b", {1, 8}, costs, 64).step_time, 24);
}

TEST(Simulate, AFailureStopsTheRunAndTellsWhatEverybodyWaitsFor) {
  const PipelineShape shape{3, 3};
  Costs costs = textbook(shape);
  // A batch takes 15. Stage 1 fails in its first forward of batch 1, 16..17.
  costs.failure = Failure{.stage = 1, .at = 16.5};
  const Result result = run("1f1b", shape, costs);
  EXPECT_THAT(
      result.stuck,
      testing::ElementsAre("stage 0 has waited since 18 s: receive_gradient of micro-batch 0 of "
                           "batch 1 (weights W(1))",
                           "stage 1 failed at 16.5 s, before the end of forward of micro-batch 0 "
                           "of batch 1 (weights W(1))",
                           "stage 2 has waited since 15 s: receive_activation of micro-batch 0 of "
                           "batch 1 (weights W(1))"));
  EXPECT_EQ(result.batches_done, 1);
  EXPECT_EQ(result.total_time, 18);
  EXPECT_EQ(result.window_first, -1);
  for (const StageResult& stage : result.stages) EXPECT_EQ(stage.usage.seconds(), 18);
}

TEST(Simulate, AFailureCountsFromItsMomentOn) {
  const PipelineShape shape{2, 2};
  Costs costs = textbook(shape);
  const double total = run("1f1b", shape, costs, 2).total_time;
  costs.failure = Failure{.stage = 0, .at = total};
  EXPECT_FALSE(run("1f1b", shape, costs, 2).stuck.empty());  // the update is due at that moment
  costs.failure->at = std::nextafter(total, 100.0);
  EXPECT_TRUE(run("1f1b", shape, costs, 2).stuck.empty());
  costs.failure->at = 0;
  const Result never_started = run("1f1b", shape, costs, 2);
  EXPECT_EQ(never_started.batches_done, 0);
  EXPECT_EQ(never_started.total_time, 0);
  EXPECT_EQ(never_started.step_time, 0);
}

// ---- mistakes

schedule::ActionStream backwards_reversed(int, PipelineShape shape, schedule::HasBatch has_batch) {
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    for (int j = 0; j < shape.micro_batches; ++j) {
      co_yield schedule::compute::forward(batch, j, batch);
    }
    for (int j = 0; j < shape.micro_batches; ++j) {
      co_yield schedule::compute::backward(batch, shape.micro_batches - 1 - j, batch);
    }
  }
}

TEST(Simulate, AStageThatNeverGetsItsMessageIsReported) {
  Schedule halted = schedule::gpipe();
  const PipelineShape shape{2, 2};
  const Costs costs = textbook(shape);
  halted.generate = [](int stage, PipelineShape of, schedule::HasBatch has_batch) {
    return stage == 0 ? schedule::gpipe().generate(stage, of, [](std::int64_t) { return false; })
                      : schedule::gpipe().generate(stage, of, std::move(has_batch));
  };
  const Result result = run(halted, shape, costs, 1);
  EXPECT_THAT(result.stuck,
              testing::ElementsAre("stage 0 finished at 0 s",
                                   "stage 1 has waited since 0 s: receive_activation of "
                                   "micro-batch 0 of batch 0 (weights W(0))"));
}

TEST(Simulate, AMessageOutOfOrderIsNoticed) {
  Schedule mixed = schedule::gpipe();
  mixed.generate = [](int stage, PipelineShape shape, schedule::HasBatch has_batch) {
    return stage == 0 ? backwards_reversed(stage, shape, std::move(has_batch))
                      : schedule::gpipe().generate(stage, shape, std::move(has_batch));
  };
  const PipelineShape shape{2, 2};
  const Costs costs = textbook(shape);
  try {
    run(mixed, shape, costs, 1);
    FAIL();
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(),
                 "[simulate] stage 0: receive_gradient of micro-batch 1 of batch 0 (weights W(0)), "
                 "but its neighbour sent micro-batch 0 of batch 0");
  }
}

void expect_refused(const char* name, PipelineShape shape, const Costs& costs, std::int64_t batches,
                    const char* message) {
  try {
    run(name, shape, costs, batches);
    FAIL() << message;
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), message);
  }
}

TEST(Simulate, RefusesWhatCannotRun) {
  expect_refused("2bw", {4, 8}, textbook({4, 8}), 0,
                 "[simulate] a run has 0 batches, but needs at least one; set 1 or more");
  expect_refused("2bw", {4, 2}, textbook({4, 2}), 8,
                 "[schedule] schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, but "
                 "they are 2 and 4; set pipeline.micro_batches = 4 or more");
  expect_refused("1f1b", {4, 8}, textbook({3, 8}), 8,
                 "[costs] the costs are of 3 stages, but the pipeline has 4; give one entry per "
                 "stage");
}

}  // namespace
}  // namespace penstock::simulate
