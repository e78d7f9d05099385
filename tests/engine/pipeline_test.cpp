#include "engine/pipeline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "engine/executor.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::random_tokens;
using tests::run_engine;
using tests::run_loop_by_stage;
using tests::run_plain_loop;
using tests::RunResult;
using tests::small_config;

void expect_same_bits(const RunResult& a, const RunResult& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.norms, b.norms);
  EXPECT_EQ(a.hash(), b.hash());
}

std::vector<std::string> with(std::vector<std::string> overrides,
                              const std::vector<std::string>& more) {
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}

struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

class PipelineTest : public testing::TestWithParam<Variant> {
 protected:
  config::Config config(const std::vector<std::string>& more) const {
    return small_config(with(GetParam().overrides, more));
  }
};

TEST_P(PipelineTest, DoubleBufferedOnAnyDepthIsAOneUpdateDelayBitForBit) {
  const auto reference = run_plain_loop(config({}), 1);
  EXPECT_GT(reference.norms[3], 0.5) << "clipping has to be active somewhere";
  for (const int stages : {1, 2, 3, 4, 6}) {
    SCOPED_TRACE(stages);
    const auto several =
        config({"pipeline.stages=" + std::to_string(stages), "pipeline.micro_batches=6"});
    const auto one = config({"pipeline.micro_batches=6"});
    expect_same_bits(run_engine(several), run_plain_loop(one, 1));
  }
  expect_same_bits(run_engine(config({"pipeline.stages=2"})), reference);
}

TEST_P(PipelineTest, FlushedIsThePlainLoopBitForBit) {
  for (const auto& [stages, micro_batches] : std::vector<std::pair<int, int>>{
           {1, 2}, {1, 8}, {2, 2}, {2, 4}, {2, 8}, {3, 3}, {3, 4}, {6, 6}, {6, 7}}) {
    SCOPED_TRACE(testing::Message() << "d=" << stages << " m=" << micro_batches);
    const auto c = config({"pipeline.schedule=1f1b", "train.steps=8",
                           "pipeline.stages=" + std::to_string(stages),
                           "pipeline.micro_batches=" + std::to_string(micro_batches)});
    expect_same_bits(run_engine(c), run_plain_loop(c, 0));
  }
}

TEST_P(PipelineTest, EverySynchronousScheduleIsThePlainLoopBitForBit) {
  struct Case {
    std::string schedule;
    int stages;
    int micro_batches;
  };
  for (const auto& [schedule, stages, micro_batches] : std::vector<Case>{{"gpipe", 1, 1},
                                                                         {"gpipe", 3, 8},
                                                                         {"gpipe", 4, 2},
                                                                         {"1f1b", 4, 2},
                                                                         {"interleaved", 1, 2},
                                                                         {"interleaved", 2, 2},
                                                                         {"interleaved", 3, 6},
                                                                         {"zb-h1", 1, 2},
                                                                         {"zb-h1", 2, 1},
                                                                         {"zb-h1", 3, 8},
                                                                         {"zb-v", 1, 2},
                                                                         {"zb-v", 2, 8},
                                                                         {"zb-v", 3, 2}}) {
    SCOPED_TRACE(testing::Message() << schedule << " d=" << stages << " m=" << micro_batches);
    const auto c = config({"pipeline.schedule=" + schedule, "train.steps=6",
                           "pipeline.stages=" + std::to_string(stages),
                           "pipeline.micro_batches=" + std::to_string(micro_batches)});
    expect_same_bits(run_engine(c), run_plain_loop(c, 0));
  }
}

TEST_P(PipelineTest, TheShortestRunsAndTheFewestMicroBatchesAreThePlainLoopToo) {
  for (const int steps : {1, 2, 8}) {
    SCOPED_TRACE(steps);
    const auto c = config({"pipeline.stages=2", "pipeline.micro_batches=2", "train.warmup=1",
                           "train.steps=" + std::to_string(steps)});
    const auto run = run_engine(c);
    EXPECT_EQ(run.losses.size(), static_cast<std::size_t>(steps));
    expect_same_bits(run, run_plain_loop(c, 1));
  }
}

TEST_P(PipelineTest, NoClippingIsThePlainLoopWithoutIt) {
  const auto c = config({"pipeline.stages=2", "train.clip=0", "train.steps=8"});
  const auto run = run_engine(c);
  expect_same_bits(run, run_plain_loop(c, 1));
  EXPECT_NE(run.hash(), run_engine(config({"pipeline.stages=2", "train.steps=8"})).hash());
}

TEST_P(PipelineTest, AnyOtherDelayGivesOtherGradients) {
  const auto c = config({"pipeline.stages=2"});
  const auto run = run_engine(c);
  for (const std::int64_t wrong : {0, 2}) {
    const auto other = run_plain_loop(c, wrong);
    EXPECT_NE(run.hash(), other.hash());
    EXPECT_EQ(run.losses[0], other.losses[0]);  // both start at W(0)
    EXPECT_NE(run.norms[3], other.norms[3]);
  }
}

TEST_P(PipelineTest, TheSameRunTwiceGivesTheSameBits) {
  const auto c = config({"pipeline.stages=2"});
  expect_same_bits(run_engine(c), run_engine(c));
}

INSTANTIATE_TEST_SUITE_P(
    Variants, PipelineTest,
    testing::Values(
        Variant{"adamw", {}},
        Variant{"lion_dc_asgd_bf16",
                {"optimizer.name=lion", "correction.name=dc_asgd", "train.precision=bf16"}},
        Variant{"adamw_tied", {"model.tied=true"}},
        Variant{"muon_ef",
                {"optimizer.name=muon", "optimizer.lr=2e-2", "correction.name=error_feedback"}},
        Variant{"muon_ef_tied_bf16",
                {"optimizer.name=muon", "optimizer.lr=2e-2", "correction.name=error_feedback",
                 "model.tied=true", "train.precision=bf16"}}),
    [](const auto& test) { return test.param.name; });

TEST(Pipeline, PipeDreamIsADelayOfItsDepthOnEveryStageBitForBit) {
  for (const auto& [stages, micro_batches, correction] :
       std::vector<std::tuple<int, int, std::string>>{{1, 1, "error_feedback"},
                                                      {2, 1, "dc_asgd"},
                                                      {4, 1, "error_feedback"},
                                                      {6, 1, "staleness_lr"},
                                                      {4, 2, "error_feedback"},
                                                      {4, 1, "dc_asgd"},
                                                      {3, 4, "weight_prediction"}}) {
    SCOPED_TRACE(testing::Message() << "d=" << stages << " m=" << micro_batches);
    const auto c =
        small_config({"pipeline.schedule=pipedream", "train.clip=0",
                      "correction.name=" + correction, "pipeline.stages=" + std::to_string(stages),
                      "pipeline.micro_batches=" + std::to_string(micro_batches)});
    // FIFO of d-1-s micro-batches: with m = 1 that many updates.
    const auto version = [stages, micro_batches](int stage, std::int64_t i) {
      return std::max<std::int64_t>(i - (stages - 1 - stage), 0) / micro_batches;
    };
    const auto run = run_engine(c);
    const auto loop = run_loop_by_stage(c, {version, version});
    EXPECT_EQ(run.losses, loop.losses);
    EXPECT_EQ(run.hash(), loop.hash());
    if (stages == 1) continue;
    const auto newest = [micro_batches](int, std::int64_t i) { return i / micro_batches; };
    EXPECT_NE(run.hash(), run_loop_by_stage(c, {newest, newest}).hash());
  }
}

TEST(Pipeline, PaciReadsTheNewestWeightsInForwardAndBackward) {
  for (const auto& [stages, micro_batches] :
       std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {4, 1}, {4, 2}, {3, 4}}) {
    SCOPED_TRACE(testing::Message() << "d=" << stages << " m=" << micro_batches);
    const auto c = small_config({"pipeline.schedule=paci", "train.clip=0",
                                 "pipeline.stages=" + std::to_string(stages),
                                 "pipeline.micro_batches=" + std::to_string(micro_batches)});
    const auto at_forward = [stages, micro_batches](int stage, std::int64_t i) {
      return std::max<std::int64_t>(i - (stages - 1 - stage), 0) / micro_batches;
    };
    const auto at_backward = [micro_batches](int, std::int64_t i) { return i / micro_batches; };
    const auto run = run_engine(c);
    const auto loop = run_loop_by_stage(c, {at_forward, at_backward});
    EXPECT_EQ(run.losses, loop.losses);
    EXPECT_EQ(run.hash(), loop.hash());
    if (stages == 1) continue;
    EXPECT_NE(run.hash(), run_loop_by_stage(c, {at_forward, at_forward}).hash());
  }
}

TEST(Pipeline, MicroBatchesOfAFlushedRunAddUpToOneBatch) {
  // The same 8 sequences as 2, 4 or 8 micro-batches: sums in another order, so equal up to fp32
  // rounding, 2^-24 per addition; over 8 updates of a loss near 4.2 the effect stays below 1e-5.
  std::vector<RunResult> results;
  for (const int m : {2, 4, 8}) {
    const auto c = small_config({"pipeline.schedule=1f1b", "pipeline.stages=2", "train.steps=8",
                                 "train.clip=0", "pipeline.micro_batches=" + std::to_string(m),
                                 "pipeline.micro_batch=" + std::to_string(8 / m)});
    results.push_back(run_engine(c));
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    for (std::size_t b = 0; b < results[0].losses.size(); ++b) {
      EXPECT_NEAR(results[i].losses[b], results[0].losses[b], 1e-5);
      EXPECT_NEAR(results[i].norms[b], results[0].norms[b], 1e-5);
    }
  }
}

TEST(Pipeline, OneBatchIsLearntByHeart) {
  const auto c = small_config({"pipeline.stages=2", "train.steps=150", "optimizer.lr=1e-2",
                               "optimizer.weight_decay=0", "correction.name=error_feedback",
                               "train.clip=1", "train.warmup=15"});
  const auto result = run_engine(c, random_tokens(c, 1));
  EXPECT_NEAR(result.losses.front(), std::log(67.0), 0.1);
  EXPECT_LT(result.losses.back(), 0.1);
}

TEST(Pipeline, EvaluatesTheNewestWeightsWithoutDisturbingTheRun) {
  const auto c = small_config({"pipeline.stages=3", "train.steps=9", "train.eval_every=4"});
  const auto evaluated = run_engine(c, random_tokens(c), 3);
  expect_same_bits(evaluated, run_engine(c));
  ASSERT_EQ(evaluated.evaluations.size(), 3U);
  std::vector<std::int64_t> versions;
  for (const auto& evaluation : evaluated.evaluations) versions.push_back(evaluation.version);
  EXPECT_EQ(versions, (std::vector<std::int64_t>{4, 8, 9}));
  // The same numbers from one stage.
  const auto one = small_config({"train.steps=9", "train.eval_every=4"});
  const auto reference = run_engine(one, random_tokens(one), 3);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(evaluated.evaluations[i].loss, reference.evaluations[i].loss);
    EXPECT_EQ(evaluated.evaluations[i].tokens, 3 * 2 * 16);
  }
}

/// A source whose validation set ends with half a micro-batch; starts at one of its micro-batches.
class ShortValidation final : public MicroBatchSource {
 public:
  static constexpr std::int64_t micro_batches = 3;

  ShortValidation(std::unique_ptr<MicroBatchSource> full, std::int64_t first)
      : full_(std::move(full)), first_(first) {}
  model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) override {
    return full_->training(batch, micro_batch);
  }
  model::MicroBatch validation(std::int64_t micro_batch) override {
    auto result = full_->validation(first_ + micro_batch);
    if (first_ + micro_batch + 1 < micro_batches) return result;
    const std::int64_t half = result.inputs.numel() / 2;
    result.inputs = result.inputs.narrow(0, 0, half);
    result.targets = result.targets.narrow(0, 0, half);
    result.sequences /= 2;
    return result;
  }

 private:
  std::unique_ptr<MicroBatchSource> full_;
  std::int64_t first_;
};

TEST(Pipeline, AnEvaluationIsTheMeanOverTokensNotOverMicroBatches) {
  const auto c = small_config({"pipeline.stages=2", "train.steps=6"});
  const auto evaluate = [&](std::int64_t first, std::int64_t count) {
    const SourceFactory source = [&c, first] {
      return std::make_unique<ShortValidation>(random_tokens(c)(), first);
    };
    return run_engine(c, source, count).evaluations.at(0);
  };
  const std::int64_t tokens[] = {32, 32, 16};
  double sum = 0;
  double plain_sum = 0;
  for (std::int64_t i = 0; i < ShortValidation::micro_batches; ++i) {
    const auto alone = evaluate(i, 1);
    EXPECT_EQ(alone.tokens, tokens[i]);
    EXPECT_NEAR(alone.loss, std::log(67.0), 0.5);  // random tokens stay unpredictable
    sum += alone.loss * static_cast<double>(tokens[i]);
    plain_sum += alone.loss;
  }
  const auto all = evaluate(0, ShortValidation::micro_batches);
  EXPECT_EQ(all.tokens, 80);
  EXPECT_DOUBLE_EQ(all.loss, sum / 80);
  EXPECT_GT(std::abs(all.loss - plain_sum / 3), 1e-4);
}

TEST(Pipeline, StagesThatUpdateAloneReportInTheOrderOfTheWeights) {
  const auto c = small_config({"pipeline.schedule=pipedream", "pipeline.stages=4", "train.clip=0",
                               "pipeline.micro_batches=1", "train.steps=12", "train.eval_every=3"});
  std::vector<std::pair<std::int64_t, std::string>> order;
  std::chrono::steady_clock::time_point before;
  Pipeline pipeline({.config = &c,
                     .schedule = proved_schedule(c),
                     .make_source = random_tokens(c),
                     .validation_micro_batches = 5,
                     .report = [&](const Event& event) {
                       if (const auto* update = std::get_if<UpdateEvent>(&event)) {
                         order.emplace_back(update->batch + 1, "update");
                         EXPECT_LE(before, update->at);
                         before = update->at;
                       } else if (const auto* e = std::get_if<EvaluationEvent>(&event)) {
                         order.emplace_back(e->version, "evaluation");
                         EXPECT_EQ(before, e->begin);
                         before = e->at;
                       }
                     }});
  comm::BatchGate gate(c.updates());
  pipeline.run(gate);
  std::vector<std::pair<std::int64_t, std::string>> expected;
  for (std::int64_t version = 1; version <= 12; ++version) {
    expected.emplace_back(version, "update");
    if (version % 3 == 0) expected.emplace_back(version, "evaluation");
  }
  EXPECT_EQ(order, expected);
}

TEST(Pipeline, ADivergingRunEndsWithOneClearError) {
  const auto c = small_config({"pipeline.stages=2", "optimizer.lr=1e30", "train.warmup=0"});
  try {
    run_engine(c);
    FAIL();
  } catch (const StageFailure& failure) {
    const std::string text = failure.what();
    EXPECT_TRUE(text.starts_with("[engine] rank 0, stage ")) << text;
    EXPECT_NE(text.find("10 updates in a row had to be skipped"), std::string::npos) << text;
    EXPECT_NE(text.find("train.skip_limit = 10; lower optimizer.lr"), std::string::npos) << text;
  }
}

TEST(Pipeline, EveryScheduleGivesTheSameBitsTwice) {
  for (const auto& schedule : schedule::registry()) {
    SCOPED_TRACE(schedule.name);
    const auto c = small_config({"pipeline.schedule=" + schedule.name, "pipeline.stages=2",
                                 schedule.updates_together ? "train.clip=0.5" : "train.clip=0"});
    const auto first = run_engine(c);
    expect_same_bits(run_engine(c), first);
    EXPECT_NE(first.hash(), run_engine(small_config({"train.steps=0", "train.warmup=0"})).hash());
  }
}

TEST(Pipeline, ExhaustedMemoryEndsTheRunAtOnce) {
  const auto c = small_config({"pipeline.stages=3", "train.steps=100000"});
  const schedule::Action place{schedule::ActionKind::backward, 5, 2, 4};
  std::chrono::steady_clock::time_point failed;
  try {
    run_engine(c, {.before_action = [&](int stage, const schedule::Action& action) {
                 if (stage != 1 || action != place) return;
                 failed = std::chrono::steady_clock::now();
                 throw std::bad_alloc();
               }});
    FAIL();
  } catch (const StageFailure& failure) {
    const std::chrono::duration<double> after = std::chrono::steady_clock::now() - failed;
    EXPECT_LT(after.count(), 1);
    EXPECT_EQ(failure.what(),
              "[engine] rank 0, stage 1, " + schedule::describe(place) + ": std::bad_alloc");
    EXPECT_THROW(std::rethrow_if_nested(failure), std::bad_alloc);
  }
}

TEST(Pipeline, NoUpdatesLeaveTheInitialWeights) {
  const auto none = small_config({"train.steps=0", "train.warmup=0", "pipeline.stages=2"});
  const auto other_cut = small_config({"train.steps=0", "train.warmup=0"});
  const auto other_seed = small_config({"train.steps=0", "train.warmup=0", "train.seed=1"});
  EXPECT_EQ(run_engine(none).hash(), run_engine(other_cut).hash());
  EXPECT_NE(run_engine(none).hash(), run_engine(other_seed).hash());
}

TEST(Pipeline, EveryStageReportsItsWork) {
  const auto c = small_config({"pipeline.stages=2"});
  std::map<int, double> work;
  std::mutex mutex;
  Pipeline pipeline({.config = &c,
                     .schedule = proved_schedule(c),
                     .make_source = random_tokens(c),
                     .report = [&](const Event& event) {
                       const std::lock_guard lock(mutex);
                       if (const auto* stage = std::get_if<StageEvent>(&event)) {
                         EXPECT_GE(stage->usage.work, work[stage->stage]);
                         work[stage->stage] = stage->usage.work;
                       }
                     }});
  comm::BatchGate gate(c.updates());
  pipeline.run(gate);
  EXPECT_GT(work[0], 0.0);
  EXPECT_GT(work[1], 0.0);
}

}  // namespace
}  // namespace penstock::engine
