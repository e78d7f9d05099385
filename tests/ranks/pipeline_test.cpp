// The engine over several ranks is the engine in one process.

#include "engine/pipeline.h"

#include <gmock/gmock.h>

#include <atomic>
#include <set>

#include "base/error.h"
#include "checkpoint/weights_hash.h"
#include "ranks/in_one_process.h"
#include "ranks/process_ranks.h"
#include "support/engine_run.h"

namespace penstock::ranks {
namespace {

using testing::HasSubstr;
using tests::message_of;
using tests::run_engine;
using tests::RunResult;
using tests::small_config;

struct Disturbed {
  std::function<void(int stage, const schedule::Action&)> before_action = nullptr;
  std::function<void(comm::BatchGate&, const engine::Event&)> on_event = nullptr;  // on rank 0
  bool trace = false;
};

struct Outcome {
  RunResult result;
  std::vector<engine::Event> events;
  std::vector<std::exception_ptr> errors;
};

Outcome run_over_ranks(int ranks, const config::Config& config, const Disturbed& disturbed = {}) {
  const auto source = tests::random_tokens(config);
  Outcome outcome;
  std::mutex mutex;
  outcome.errors = tests::run_ranks(ranks, [&](Group& group) {
    ProcessRanks others(group, static_cast<int>(config.pipeline.stages));
    const auto schedule = engine::proved_schedule(config);
    comm::BatchGate gate(engine::gate_setup(config, schedule));
    engine::Pipeline pipeline({.config = &config,
                               .ranks = &others,
                               .schedule = schedule,
                               .make_source = source,
                               .validation_micro_batches = 3,
                               .report =
                                   [&](engine::Event event) {
                                     ASSERT_EQ(group.rank(), 0);
                                     const std::lock_guard lock(mutex);
                                     if (disturbed.on_event) disturbed.on_event(gate, event);
                                     outcome.events.push_back(std::move(event));
                                   },
                               .trace = disturbed.trace,
                               .before_action = disturbed.before_action});
    pipeline.run(gate);
    if (group.rank() > 0) return;
    for (const auto& [name, tensor] : pipeline.weights()) {
      outcome.result.weights[name] = tensor.clone();
    }
  });
  for (const auto& event : outcome.events) {
    if (const auto* update = std::get_if<engine::UpdateEvent>(&event)) {
      outcome.result.losses.push_back(update->loss);
      outcome.result.norms.push_back(update->gradient_norm);
    }
    if (const auto* evaluation = std::get_if<engine::EvaluationEvent>(&event)) {
      outcome.result.evaluations.push_back(*evaluation);
    }
  }
  return outcome;
}

void expect_as_in_one_process(int ranks, const std::vector<std::string>& settings) {
  SCOPED_TRACE(testing::PrintToString(settings));
  const auto config = small_config(settings);
  const auto expected = run_engine(config, tests::random_tokens(config), 3);
  const auto outcome = run_over_ranks(ranks, config);
  for (const auto& error : outcome.errors) EXPECT_EQ(message_of(error), "");
  EXPECT_EQ(outcome.result.hash(), expected.hash());
  EXPECT_EQ(outcome.result.losses, expected.losses);
  EXPECT_EQ(outcome.result.norms, expected.norms);
  ASSERT_EQ(outcome.result.evaluations.size(), expected.evaluations.size());
  for (std::size_t i = 0; i < expected.evaluations.size(); ++i) {
    EXPECT_EQ(outcome.result.evaluations[i].version, expected.evaluations[i].version);
    EXPECT_EQ(outcome.result.evaluations[i].loss, expected.evaluations[i].loss);
  }
}

TEST(PipelineOverRanks, GivesTheSameBitsInEverySchedule) {
  for (const char* name : {"gpipe", "1f1b", "zb-h1", "2bw", "2bw-ahead"}) {
    expect_as_in_one_process(2, {"pipeline.stages=3", "train.steps=7", "train.eval_every=3",
                                 std::string("pipeline.schedule=") + name});
  }
}

TEST(PipelineOverRanks, GivesTheSameBitsWhereStagesUpdateAlone) {
  for (const char* name : {"pipedream", "paci"}) {
    expect_as_in_one_process(2, {"pipeline.stages=3", "train.steps=7", "train.eval_every=3",
                                 "train.clip=0", std::string("pipeline.schedule=") + name});
  }
}

TEST(PipelineOverRanks, GivesTheSameBitsWithSeveralChunksToAStage) {
  for (const char* name : {"interleaved", "zb-v"}) {
    expect_as_in_one_process(2, {"pipeline.stages=2", "pipeline.chunks=2", "train.steps=5",
                                 "model.tied=true", std::string("pipeline.schedule=") + name});
  }
}

TEST(PipelineOverRanks, TiesTheHeadOfAnotherRankToTheEmbedding) {
  for (const char* name : {"1f1b", "2bw"}) {
    expect_as_in_one_process(4, {"pipeline.stages=4", "model.tied=true", "train.steps=7",
                                 std::string("pipeline.schedule=") + name});
  }
}

TEST(PipelineOverRanks, ReportsFromEveryStageToRank0InTheTimeOfTheRun) {
  const auto config = small_config({"pipeline.stages=3", "train.steps=6"});
  const auto outcome = run_over_ranks(3, config, {.trace = true});
  std::map<int, std::int64_t> updates;
  std::map<int, double> last_end;
  for (const auto& event : outcome.events) {
    if (const auto* stage = std::get_if<engine::StageEvent>(&event)) {
      EXPECT_EQ(stage->batch, updates[stage->stage]++);
    }
    if (const auto* spans = std::get_if<engine::SpansEvent>(&event)) {
      for (const auto& span : spans->spans) {
        EXPECT_GE(span.begin, last_end[spans->stage]);
        last_end[spans->stage] = span.end;
      }
    }
  }
  EXPECT_EQ(updates, (std::map<int, std::int64_t>{{0, 6}, {1, 6}, {2, 6}}));
  EXPECT_EQ(last_end.size(), 3u);
}

TEST(PipelineOverRanks, StopsOnAllRanksWhenRank0Decides) {
  const auto config = small_config({"pipeline.stages=2", "train.steps=2000"});
  const auto outcome =
      run_over_ranks(2, config, {.on_event = [](comm::BatchGate& gate, const engine::Event& event) {
                       if (const auto* update = std::get_if<engine::UpdateEvent>(&event)) {
                         if (update->batch == 3) gate.request_stop();
                       }
                     }});
  for (const auto& error : outcome.errors) EXPECT_EQ(message_of(error), "");
  EXPECT_GE(outcome.result.losses.size(), 4u);
  EXPECT_LT(outcome.result.losses.size(), 2000u);
}

TEST(PipelineOverRanks, EndsEverywhereWithTheMessageOfTheStageThatFailed) {
  for (const int failing : {0, 1, 3}) {
    const auto config = small_config({"pipeline.stages=4", "train.steps=2000"});
    const auto outcome =
        run_over_ranks(4, config, {.before_action = [&](int stage, const schedule::Action& action) {
                         const bool here = stage == failing && action.batch == 2 &&
                                           action.kind == schedule::ActionKind::forward;
                         if (here) throw std::runtime_error("out of something");
                       }});
    for (const auto& error : outcome.errors) {
      EXPECT_EQ(message_of(error),
                fmt::format("[engine] rank {0}, stage {0}, forward of micro-batch 0 of batch 2 "
                            "(weights W(1)): out of something",
                            failing));
    }
  }
}

TEST(PipelineOverRanks, NeedsAStageForEveryRank) {
  const auto config = small_config({"pipeline.stages=2"});
  for (const auto& error : run_over_ranks(3, config).errors) {
    EXPECT_THAT(message_of(error), HasSubstr("[ranks] each rank needs a stage"));
  }
}

}  // namespace
}  // namespace penstock::ranks
