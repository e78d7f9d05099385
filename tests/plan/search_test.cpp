#include "plan/search.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>

#include "plan/enumerate.h"
#include "plan/example.h"
#include "plan/message_of.h"
#include "schedule/grid_file.h"

namespace penstock::plan {
namespace {

// Sums of whole seconds are exact up to the update, which takes 1e-15 of them.
constexpr double exact = 1e-9;

double step(const char* schedule, schedule::PipelineShape shape, std::vector<std::int64_t> counts) {
  const int units =
      static_cast<int>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  return predict(equal_units(units, shape.micro_batches), ideal(shape.stages),
                 candidate(schedule, shape, std::move(counts)))
      .step_seconds;
}

TEST(PredictTest, OneRankWorksAllTheTime) {
  EXPECT_NEAR(step("1f1b", {1, 5, 1}, {4}), 5 * 4 * 3, exact);
  EXPECT_NEAR(step("2bw", {1, 5, 1}, {4}), 5 * 4 * 3, exact);
}

TEST(PredictTest, ClosedFormsOfEqualStages) {
  for (const int d : {2, 3, 4}) {
    for (const int m : {d, 2 * d, 5 * d}) {
      const std::vector<std::int64_t> counts(static_cast<std::size_t>(d), 1);
      const double work = 3.0 * m;
      EXPECT_NEAR(step("2bw", {d, m, 1}, counts), work, exact) << d << " " << m;
      EXPECT_NEAR(step("1f1b", {d, m, 1}, counts), work * (m + d - 1) / m, exact) << d << " " << m;
      EXPECT_NEAR(step("gpipe", {d, m, 1}, counts), work * (m + d - 1) / m, exact);
      // dX and dW take as long as F: a third of the bubble.
      EXPECT_NEAR(step("zb-h1", {d, m, 1}, counts), work + (d - 1), exact) << d << " " << m;
    }
  }
}

TEST(PredictTest, SharesOfTheTimeAddUp) {
  const auto plan = predict(equal_units(2, 4), ideal(2), candidate("1f1b", {2, 4, 1}, {1, 1}));
  EXPECT_NEAR(plan.bubble(), 0.2, exact);
  EXPECT_NEAR(plan.transfer, 0, exact);
  EXPECT_NEAR(plan.tokens_per_second, 4 / 15.0, exact);
  EXPECT_NEAR(plan.utilisation, 0.8, exact);
  EXPECT_EQ(plan.delay, 0);
}

TEST(PredictTest, AllReduceIsExposedUnlessTheScheduleHasSlack) {
  auto cluster = ideal(4);
  cluster.network.latency_us = 1e6;  // 2 (n-1) latencies: 2 s of an all-reduce
  auto workload = equal_units(2, 8);
  const auto sync = predict(workload, cluster, candidate("1f1b", {2, 4, 1}, {1, 1}, 2));
  const auto delayed = predict(workload, cluster, candidate("2bw", {2, 4, 1}, {1, 1}, 2));
  EXPECT_GE(sync.exposed_reduction, 2);
  EXPECT_NEAR(delayed.exposed_reduction, 0, exact);
  EXPECT_EQ(delayed.delay, 1);
}

Outcome search_in(const Workload& workload, const Cluster& cluster, Space space = {},
                  std::size_t top = 10) {
  Request request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.space = std::move(space);
  request.top = top;
  return search(request);
}

TEST(SearchTest, RanksByTimeAndKeepsTheBestOfEachGroup) {
  const auto outcome = search_in(equal_units(8, 16), ideal(4));
  ASSERT_FALSE(outcome.ranked.empty());
  for (std::size_t i = 1; i < outcome.ranked.size(); ++i) {
    EXPECT_LE(outcome.ranked[i - 1].step_seconds, outcome.ranked[i].step_seconds * (1 + exact));
  }
  // 16 sequences of 8 units of 3 s on 4 ranks.
  EXPECT_NEAR(outcome.ranked.front().step_seconds, 16 * 8 * 3 / 4.0, 1e-6);
  EXPECT_EQ(outcome.best_of_schedule.size(), schedule::registry().size());
  EXPECT_EQ(outcome.best_of_stages.size(), 4u);
}

TEST(SearchTest, BoundsLeaveOutNothingThatWouldRank) {
  const auto workload = tiny(8);
  auto cluster = ideal(4);
  cluster.node.latency_us = 1;
  cluster.network.latency_us = 10;
  const auto outcome = search_in(workload, cluster, {}, 5);
  EXPECT_LT(outcome.simulated, outcome.fitting);
  const auto all = search_in(workload, cluster, {}, 100000);
  EXPECT_EQ(all.simulated, all.fitting);
  for (std::size_t i = 0; i < outcome.ranked.size(); ++i) {
    EXPECT_EQ(outcome.ranked[i].step_seconds, all.ranked[i].step_seconds) << i;
  }
  ASSERT_EQ(outcome.best_of_schedule.size(), all.best_of_schedule.size());
  for (std::size_t i = 0; i < all.best_of_schedule.size(); ++i) {
    EXPECT_EQ(outcome.best_of_schedule[i].step_seconds, all.best_of_schedule[i].step_seconds);
  }
}

TEST(SearchTest, MoreLatencyIsNeverFaster) {
  const auto workload = tiny(8);
  for (const auto& schedule : schedule::registry()) {
    double before = 0;
    for (const double latency : {0.0, 1.0, 10.0, 100.0}) {
      auto cluster = ideal(2);
      cluster.network.latency_us = latency;
      Space space;
      space.schedules = {&schedule};
      space.stages = 2;
      const double step = search_in(workload, cluster, space).ranked.front().step_seconds;
      EXPECT_GE(step, before * (1 - exact)) << schedule.name << " " << latency;
      before = step;
    }
    EXPECT_GT(before, 100e-6) << schedule.name;
  }
}

TEST(SearchTest, MoreMemoryNeverFitsFewerPlans) {
  const auto workload = tiny(8);
  auto cluster = ideal(4);
  std::size_t before = 0;
  double slowest = std::numeric_limits<double>::infinity();
  for (const double gib : {1.1e-5, 1.5e-5, 3e-5, 1.0}) {
    cluster.ranks.memory_gib = gib;
    Space space;
    space.replicas = 1;
    const auto outcome = search_in(workload, cluster, space);
    EXPECT_GT(outcome.fitting, before) << gib;
    EXPECT_LE(outcome.ranked.front().step_seconds, slowest * (1 + exact)) << gib;
    before = outcome.fitting;
    slowest = outcome.ranked.front().step_seconds;
  }
}

TEST(SearchTest, SlowRanksGetLessOfTheModel) {
  const auto workload = equal_units(6, 4);
  Space space;
  space.stages = 2;
  space.schedules = {&schedule::find("2bw")};
  const auto even = search_in(workload, ideal(2), space).ranked.front();
  EXPECT_EQ(even.candidate.pieces[0], (model::UnitRange{0, 3}));
  const auto uneven =
      search_in(workload, ideal(2, "speed_percent = [100, 50]"), space).ranked.front();
  EXPECT_EQ(uneven.candidate.pieces[0], (model::UnitRange{0, 4}));
  EXPECT_NEAR(uneven.step_seconds, 4 * 4 * 3, 1e-6);
}

TEST(SearchTest, MemoryDecidesForRecomputation) {
  auto workload = tiny(8);
  workload.model.layers = 8;
  workload = make_workload(workload);
  auto cluster = ideal(1);
  Space space;
  space.micro_batch = 8;
  space.schedules = {&schedule::find("1f1b")};
  const auto free = search_in(workload, cluster, space).ranked.front();
  EXPECT_EQ(free.candidate.recompute, Recompute::none);
  cluster.ranks.memory_gib = (free.peak_bytes() - 1) / (1024.0 * 1024 * 1024);
  const auto outcome = search_in(workload, cluster, space);
  EXPECT_EQ(outcome.ranked.front().candidate.recompute, Recompute::block);
  ASSERT_EQ(outcome.rejected.size(), 1u);
  EXPECT_EQ(outcome.rejected[0].obstacle, Obstacle::memory);
  // With one micro-batch in flight, a whole stage computed again is as large as one kept, but for
  // its input and numbers.
  EXPECT_EQ(outcome.rejected[0].count, 2);
}

TEST(SearchTest, WhereBackwardsReadOtherWeightsNothingIsComputedAgain) {
  Space space;
  space.schedules = {&schedule::find("paci"), &schedule::find("pipedream")};
  space.stages = 2;
  space.micro_batch = 1;
  const auto all = enumerate(tiny(8), ideal(2), space);
  EXPECT_EQ(all.candidates.size(), 1u + 3u);
  EXPECT_TRUE(all.rejected.empty());
  space.schedules = {&schedule::find("paci")};
  space.recompute = {Recompute::block};
  EXPECT_EQ(message_of([&] { search_in(tiny(8), ideal(2), space); }),
            "[plan] no layout is possible: schedule 'paci' gives a backward other weights than its "
            "forward, so nothing can be computed again; set --recompute none");
}

// Stage 1 holds attention (188 bytes a token with its numbers) and the head (84). At most three
// forwards of its chunks are in flight, and all of them can be attention's.
TEST(PredictTest, ChunksAreCountedOneByOne) {
  const auto workload = tiny(8);
  const auto interleaved = candidate("interleaved", {2, 8, 2}, {1, 1, 1, 1});
  const auto plan = predict(workload, ideal(2), interleaved);
  EXPECT_EQ(memory_of(workload, interleaved, 1).activations, 4 * 3 * (188 + 84) / 2.0);
  EXPECT_EQ(plan.memory[1].activations, 4 * 3 * 188);
}

TEST(SearchTest, ChunksThatDoNotFitAfterAllAreRejected) {
  auto workload = tiny(8);
  workload.model.ff = 4;  // so that stage 1 is the fullest
  workload = make_workload(workload);
  auto cluster = ideal(2);
  Space space;
  space.stages = 2;
  space.micro_batch = 1;
  space.chunks = 2;
  space.recompute = {Recompute::none};
  space.schedules = {&schedule::find("interleaved")};
  const auto plan = search_in(workload, cluster, space).ranked.front();
  ASSERT_EQ(plan.fullest, 1);
  ASSERT_GT(plan.peak_bytes(), memory_of(workload, plan.candidate, 1).total());
  cluster.ranks.memory_gib = (plan.peak_bytes() - 1) / (1024.0 * 1024 * 1024);
  EXPECT_NE(message_of([&] { search_in(workload, cluster, space); }).find("no plan fits"),
            std::string::npos);
}

TEST(SearchTest, TiedEmbeddingsExcludeLoneUpdates) {
  auto workload = tiny(8);
  workload.model.tied = true;
  const auto outcome = search_in(make_workload(workload), ideal(2));
  for (const auto& plan : outcome.ranked) {
    EXPECT_TRUE(plan.candidate.schedule->updates_together);
  }
  int lone = 0;
  for (const auto& group : outcome.rejected) lone += group.obstacle == Obstacle::lone_updates;
  EXPECT_EQ(lone, 2);
}

TEST(SearchTest, TrainHereLeavesOutWhatTrainCannot) {
  Space space;
  space.trainable = true;
  const auto outcome = search_in(equal_units(8, 16), ideal(4), space, 1000);
  for (const auto& plan : outcome.ranked) {
    EXPECT_EQ(plan.candidate.replicas, 1);
  }
  EXPECT_EQ(outcome.best_of_stages.size(), 4u);
}

TEST(SearchTest, EveryCandidateIsTheWholeBatch) {
  const auto workload = tiny(12);
  const auto all = enumerate(workload, ideal(4), {});
  EXPECT_GT(all.candidates.size(), 50u);
  for (const auto& one : all.candidates) {
    EXPECT_EQ(one.shape.micro_batches * one.micro_batch * one.replicas, 12);
    EXPECT_LE(one.ranks(), 4);
    EXPECT_EQ(one.schedule->complaint(one.shape), "");
    EXPECT_EQ(static_cast<int>(one.pieces.size()), one.shape.pieces());
    EXPECT_EQ(one.pieces.back().last, 4);
  }
}

std::string error_in(const Workload& workload, const Cluster& cluster, const Space& space = {}) {
  return message_of([&] { search_in(workload, cluster, space); });
}

TEST(SearchTest, SettingsThatCannotBeMetNameTheNearestOnes) {
  Space space;
  space.stages = 5;
  EXPECT_EQ(error_in(tiny(), ideal(8), space),
            "[plan] 5 stages, but 1 layers have only 4 units to distribute (embedding, attention "
            "and MLP of each layer, head); set --stages 4 or fewer");
  space.stages = 4;
  EXPECT_EQ(error_in(tiny(), ideal(2), space),
            "[plan] 4 stages x 1 replicas need 4 ranks, but the cluster has 2; set --stages 2 or "
            "fewer");
  space.stages = 2;
  space.replicas = 3;
  EXPECT_EQ(error_in(tiny(8), ideal(6), space),
            "[plan] 3 replicas do not divide the batch of 8 sequences of 4 tokens; set --replicas "
            "2, or --batch-tokens 36");
  space.replicas = 2;
  space.micro_batch = 3;
  EXPECT_EQ(error_in(tiny(8), ideal(6), space),
            "[plan] micro-batches of 3 sequences do not divide the 4 sequences of each of 2 "
            "replicas; set --micro-batch 2, or --batch-tokens 48");
  space = {};
  space.stages = 4;
  space.micro_batch = 8;
  space.schedules = {&schedule::find("2bw")};
  EXPECT_EQ(error_in(tiny(8), ideal(4), space),
            "[plan] no layout is possible: schedule '2bw' needs pipeline.micro_batches >= "
            "pipeline.stages, but they are 1 and 4; set pipeline.micro_batches = 4 or more");
}

TEST(SearchTest, SuggestionsAreSettingsThatWork) {
  Space space;
  space.replicas = 100;
  EXPECT_EQ(error_in(tiny(128), ideal(64), space),
            "[plan] 100 replicas need 100 ranks, but the cluster has 64; set --replicas 64");
  space.replicas = 512;
  EXPECT_EQ(error_in(tiny(128), ideal(1024), space),
            "[plan] 512 replicas do not divide the batch of 128 sequences of 4 tokens; set "
            "--replicas 128, or --batch-tokens 2048");
  space.stages = 2;
  space.replicas = 5;
  EXPECT_EQ(error_in(tiny(12), ideal(10), space),
            "[plan] 5 replicas do not divide the batch of 12 sequences of 4 tokens; set "
            "--replicas 4, or --batch-tokens 60");
  EXPECT_EQ(error_in(tiny(12), ideal(8), space),
            "[plan] 2 stages x 5 replicas need 10 ranks, but the cluster has 8; set --replicas 4, "
            "or --stages 1 or fewer");
  space.stages = 1;
  space.replicas = 6;  // 7 are nearer, but are more than there are ranks
  EXPECT_EQ(error_in(tiny(14), ideal(6), space),
            "[plan] 6 replicas do not divide the batch of 14 sequences of 4 tokens; set "
            "--replicas 2, or --batch-tokens 72");
  space.stages = 4;
  space.replicas = std::numeric_limits<int>::max();
  EXPECT_EQ(error_in(tiny(12), ideal(8), space),
            "[plan] 4 stages x 2147483647 replicas need 8589934588 ranks, but the cluster has 8; "
            "set --replicas 2");
}

TEST(SearchTest, MicroBatchesThatDivideNoShareNameOneThatDoes) {
  Space space;
  space.stages = 2;
  space.replicas = 8;
  space.micro_batch = 64;
  EXPECT_EQ(error_in(tiny(128), ideal(16), space),
            "[plan] micro-batches of 64 sequences do not divide the 16 sequences of each of 8 "
            "replicas; set --micro-batch 16, or --batch-tokens 2048");
  space.micro_batch = std::int64_t{1} << 62;
  EXPECT_EQ(error_in(tiny(128), ideal(16), space),
            "[plan] micro-batches of 4611686018427387904 sequences do not divide the 16 sequences "
            "of each of 8 replicas; set --micro-batch 16");
  space = {};
  space.micro_batch = 8;
  EXPECT_EQ(error_in(tiny(8), ideal(4), space), "no error");  // one replica of three or four stages
  space.micro_batch = 2;
  EXPECT_EQ(error_in(tiny(7), ideal(1), space),
            "[plan] micro-batches of 2 sequences do not divide the 7 sequences of each of 1 "
            "replicas; set --micro-batch 1, or --batch-tokens 32 --replicas 1");
}

TEST(SearchTest, WhatTrainCannotRunIsRefusedByName) {
  Space space;
  space.trainable = true;
  space.replicas = 4;
  EXPECT_EQ(error_in(tiny(8), ideal(4), space),
            "[plan] --train-here plans for one replica, but --replicas is 4; set --replicas 1, or "
            "leave out --train-here");
  space.replicas.reset();
  auto workload = tiny(8);
  workload.experts.count = 2;
  EXPECT_EQ(error_in(make_workload(workload), ideal(4), space),
            "[plan] train has no experts, but experts.count = 2; leave out --train-here, or plan a "
            "dense model");
}

TEST(SearchTest, ChunksAreCountedInWideNumbers) {
  Space space;
  space.stages = 4;
  space.chunks = 1 << 30;
  space.schedules = {&schedule::find("interleaved")};
  const std::string rule =
      " pieces, but the model has 4 units; set --stages and --chunks with a product of 4 or less";
  EXPECT_EQ(error_in(tiny(8), ideal(4), space),
            "[plan] no layout is possible: 4 stages of 1073741824 chunks are 4294967296" + rule);
  space.stages = 1;
  EXPECT_EQ(error_in(tiny(8), ideal(4), space),
            "[plan] no layout is possible: 1 stages of 1073741824 chunks are 1073741824" + rule);
}

TEST(SearchTest, OneStageOfAScheduleWithChunksIsPlanned) {
  Space space;
  space.stages = 1;
  space.schedules = {&schedule::find("interleaved"), &schedule::find("1f1b")};
  for (const auto& one : enumerate(tiny(8), ideal(1), space).candidates) {
    EXPECT_EQ(one.schedule->name, "1f1b");
  }
  space.schedules.pop_back();
  EXPECT_EQ(search_in(tiny(8), ideal(1), space).ranked.front().candidate.shape.chunks, 2);
}

TEST(SearchTest, BatchesOfTooManyMicroBatchesAreNotSimulated) {
  auto workload = tiny(std::int64_t{1} << 30);
  Space space;
  space.stages = 2;
  space.schedules = {&schedule::find("1f1b")};
  space.recompute = {Recompute::none};
  const std::string error = error_in(workload, ideal(2), space);
  EXPECT_EQ(error,
            "[plan] no layout is possible: 16777216 micro-batches for 2 pieces of the model, but "
            "their product can be at most 1048576 for a plan; set --batch-tokens 2097152 or less");
  workload.sequences = 2097152 / 4;
  const auto all = enumerate(workload, ideal(2), space);
  EXPECT_TRUE(all.rejected.empty());
  EXPECT_EQ(all.candidates.size(), 7u);  // micro-batches of 1 to 64
  workload.sequences *= 4;
  const auto most = enumerate(workload, ideal(2), space);
  EXPECT_EQ(most.candidates.size(), 5u);
  ASSERT_EQ(most.rejected.size(), 1u);
  EXPECT_EQ(most.rejected[0].count, 2);
  EXPECT_EQ(most.rejected[0].obstacle, Obstacle::size);
}

TEST(SearchTest, AGridIsPlannedInItsShape) {
  const auto grid =
      schedule::parse_grid("stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 B1 U\n", "my.grid");
  Space space;
  space.schedules = {&grid};
  const auto outcome = search_in(equal_units(4, 4), ideal(2), space);
  for (const auto& plan : outcome.ranked) {
    EXPECT_EQ(plan.candidate.shape, (schedule::PipelineShape{2, 2, 1}));
  }
  // (m + d - 1) pairs of 2 units and 2 sequences.
  EXPECT_NEAR(outcome.ranked.front().step_seconds, 3 * 2 * 2 * 3, exact);
  space.replicas = 1;
  EXPECT_EQ(error_in(equal_units(4, 5), ideal(4), space),
            "[plan] no layout is possible: the grid 'my.grid' is for pipeline.stages = 2, "
            "micro_batches = 2 and chunks = 1, but they are 2, 1 and 1; set them to the grid's, or "
            "write rows for this shape");
}

TEST(PredictTest, AStepAloneIsTheSame) {
  const auto one = candidate("1f1b", {2, 4, 1}, {1, 1});
  EXPECT_EQ(predict_step(equal_units(2, 4), ideal(2), one),
            predict(equal_units(2, 4), ideal(2), one).step_seconds);
}

TEST(SearchTest, TooLittleMemoryNamesTheNeedAndWhatWouldFit) {
  auto cluster = ideal(1);
  cluster.ranks.memory_gib = 2e-5;  // 21474 bytes
  Space space;
  space.schedules = {&schedule::find("1f1b")};
  space.recompute = {Recompute::none};
  space.micro_batch = 8;
  // 760 parameters in 16 bytes, 32 tokens of 452 + 16 bytes; the MLP's backward, when the head's
  // 68 bytes are free, takes 172 a token more: 32640.
  EXPECT_EQ(error_in(tiny(8), cluster, space),
            "[plan] no plan fits into ranks.memory_gib = 2e-05: the smallest need is 3.04e-05 GiB "
            "on stage 0 of 1f1b, 1 stage x 1 replica, 1 x 8 sequences, recompute none; set "
            "ranks.memory_gib = 3.1e-05 or more, or --micro-batch 1");
  // One sequence: 12160 + 4 * (468 + 172) = 14720 bytes do not fit in 13958. Two ranks would give
  // one the head, as dear as all the rest here; four share it.
  cluster.ranks.memory_gib = 1.3e-5;
  space.micro_batch.reset();
  EXPECT_EQ(error_in(tiny(8), cluster, space),
            "[plan] no plan fits into ranks.memory_gib = 1.3e-05: the smallest need is 1.37e-05 "
            "GiB on stage 0 of 1f1b, 1 stage x 1 replica, 8 x 1 sequence, recompute none; set "
            "ranks.memory_gib = 1.4e-05 or more, or ranks.count = 4");
  // Two layers are 20096 + 4 * (1008 + 16) = 24192 bytes; with one of them at a time 22656, in
  // 23622.
  cluster.ranks.memory_gib = 2.2e-5;
  auto two_layers = tiny(8);
  two_layers.model.layers = 2;
  const auto error = error_in(make_workload(two_layers), cluster, space);
  EXPECT_NE(error.find("or more, or allow --recompute block, or ranks.count = 2"),
            std::string::npos)
      << error;
}

}  // namespace
}  // namespace penstock::plan
