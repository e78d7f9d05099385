#include "plan/planned_model.h"

#include <gtest/gtest.h>

#include "config/example_catalogue.h"
#include "config/print.h"
#include "plan/example.h"
#include "plan/message_of.h"
#include "schedule/grid_file.h"
#include "schedule/schedule.h"

namespace penstock::plan {
namespace {

config::Catalogue catalogue() {
  auto all = config::example_catalogue();
  all.schedules.clear();
  for (const auto& schedule : schedule::registry()) {
    config::ScheduleSpec spec;
    spec.name = schedule.name;
    spec.default_chunks = schedule.default_chunks;
    spec.updates_together = schedule.updates_together;
    all.schedules.push_back(spec);
  }
  return all;
}

constexpr const char* shape =
    "[model]\nlayers = 3\nwidth = 64\nheads = 4\nff = 128\nvocab = 300\nseq = 16\n";

Workload workload_of(const PlannedModel& model, std::int64_t sequences) {
  Workload workload;
  workload.model = model.config.model;
  workload.experts = model.experts;
  workload.sequences = sequences;
  return make_workload(workload);
}

Plan best(const Workload& workload, const Cluster& cluster, const char* schedule, int stages) {
  Request request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.space.schedules = {&schedule::find(schedule)};
  request.space.stages = stages;
  return search(request).ranked.front();
}

TEST(PlannedModelTest, APresetWithOverrides) {
  const auto model = preset_model("nano", {"model.layers=6", "train.steps=7"}, catalogue());
  EXPECT_EQ(model.config.model.layers, 6);
  EXPECT_EQ(model.config.model.width, 128);
  EXPECT_EQ(model.config.train.steps, 7);
  EXPECT_FALSE(model.has_data);
  EXPECT_TRUE(model.has_length);
  EXPECT_EQ(message_of([] { preset_model("nana", {}, catalogue()); }),
            "[config] model.preset = \"nana\" (--set) is none of \"\", nano, bench-10m, "
            "smollm2-135m, smollm2-360m; did you mean 'nano'?");
}

// 20 tokens per parameter of the shape as overridden are the run that a warm-up has to fit in.
TEST(PlannedModelTest, TheLengthIsKnownBeforeTheWarmUpIsChecked) {
  const auto model = preset_model("nano", {"train.warmup=2000", "model.layers=2"}, catalogue());
  EXPECT_EQ(model.config.train.warmup, 2000);
  EXPECT_EQ(model.config.model.layers, 2);
  EXPECT_EQ(model.config.train.tokens, 20 * model::parameter_count(model.config.model));
  EXPECT_FALSE(model.config.train.steps.has_value());
  EXPECT_FALSE(model.has_length);
}

// 100 updates of 2^16 sequences of 16 tokens are more than 20 tokens for each of 150,000
// parameters.
TEST(PlannedModelTest, AnUnknownLengthCoversTheWarmUpOfThePlan) {
  const auto model = parse_shape(shape, "m.toml", {"train.warmup=100"}, catalogue());
  const auto workload = workload_of(model, 1 << 16);
  const auto cluster = ideal(2);
  const auto plan = best(workload, cluster, "2bw", 2);
  ASSERT_LT(*model.config.train.tokens, 100 * (1 << 16) * 16);
  const auto text = configuration_text(model, workload, cluster, plan);
  EXPECT_EQ(config::parse(text, "plan.toml", {}, catalogue()).updates(), 100);
}

TEST(PlannedModelTest, AShapeWithExperts) {
  const auto model = parse_shape(std::string(shape) + "[experts]\ncount = 4\nactive = 2\n",
                                 "moe.toml", {"train.precision=bf16"}, catalogue());
  EXPECT_EQ(model.config.model.kv_heads, 4);
  EXPECT_EQ(model.config.train.precision, config::Precision::bf16);
  EXPECT_EQ(model.experts, (Experts{4, 2}));
  EXPECT_EQ(model.config.train.tokens, 20 * model::parameter_count(model.config.model));
}

TEST(PlannedModelTest, AShapesMistakesHaveTheirLine) {
  const auto error = [](const std::string& more) {
    return message_of([&] { parse_shape(shape + more, "m.toml", {}, catalogue()); });
  };
  EXPECT_EQ(error("layer = 3\n"),
            "[config] unknown key 'model.layer' in m.toml:8; did you mean 'model.layers'?");
  EXPECT_EQ(error("[expert]\ncount = 3\n"),
            "[config] unknown section 'expert' in m.toml:8; did you mean 'experts'?");
  EXPECT_EQ(error("[experts]\ncount = 0\n"),
            "[config] experts.count = 0 (m.toml:9) is out of range; give a whole number in "
            "[1, 1000000]");
}

TEST(PlannedModelTest, WrittenConfigurationsAreReadBackEqual) {
  const auto model = parse_shape(shape, "m.toml", {"train.steps=5"}, catalogue());
  const auto workload = workload_of(model, 16);
  for (const auto& schedule : schedule::registry()) {
    for (const int stages : {2, 3}) {
      if (!schedule.complaint({stages, 16, schedule.default_chunks}).empty()) continue;
      const auto cluster = ideal(stages);
      const auto plan = best(workload, cluster, schedule.name.c_str(), stages);
      const auto text = configuration_text(model, workload, cluster, plan);
      const auto read = config::parse(text, "plan.toml", {}, catalogue());
      EXPECT_EQ(read, configured(model, workload, plan)) << text;
      EXPECT_EQ(read.pipeline.stages, stages);
      EXPECT_EQ(read.pipeline.schedule, schedule.name);
      EXPECT_EQ(read.pipeline.chunks, plan.candidate.shape.chunks);
      EXPECT_EQ(static_cast<int>(read.pipeline.partition.size()), plan.candidate.shape.pieces());
      EXPECT_EQ(read.tokens_per_update(), workload.batch_tokens());
      EXPECT_EQ(read.train.clip, schedule.updates_together ? 1.0 : 0.0);
    }
  }
}

TEST(PlannedModelTest, ReplicasAreSaidAndRecomputationIsWritten) {
  const auto model = parse_shape(shape, "m.toml", {}, catalogue());
  const auto workload = workload_of(model, 16);
  const auto cluster = ideal(4);
  auto plan = best(workload, cluster, "2bw", 2);
  ASSERT_EQ(plan.candidate.replicas, 2);
  plan.candidate.recompute = Recompute::block;
  const auto text = configuration_text(model, workload, cluster, plan);
  EXPECT_NE(text.find("# The plan has 2 replicas"), std::string::npos) << text;
  EXPECT_EQ(config::parse(text, "plan.toml", {}, catalogue()).pipeline.recompute, Recompute::block)
      << text;
  EXPECT_NE(text.find("# A placeholder, set it: data.train."), std::string::npos) << text;
  EXPECT_NE(text.find("# A placeholder, set it: train.tokens, 20 per"), std::string::npos) << text;
  EXPECT_EQ(config::parse(text, "plan.toml", {}, catalogue()).tokens_per_update(),
            workload.batch_tokens());
}

TEST(PlannedModelTest, ReplicasOfAGridCannotBeWritten) {
  const auto model = parse_shape(shape, "m.toml", {}, catalogue());
  const auto workload = workload_of(model, 8);
  const auto grid =
      schedule::parse_grid("stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 B1 U\n", "my.grid");
  Candidate candidate{.schedule = &grid,
                      .shape = {2, 2, 1},
                      .replicas = 2,
                      .micro_batch = 2,
                      .recompute = Recompute::none,
                      .pieces = model::partition_from_counts({4, 4})};
  const auto plan = predict(workload, ideal(4), candidate);
  EXPECT_EQ(message_of([&] { (void)configured(model, workload, plan); }),
            "[plan] train has no replicas, and the grid 'my.grid' is for 2 micro-batches, not for "
            "those of 2 replicas; set --replicas 1, or leave out --out");
}

TEST(PlannedModelTest, ExpertsCannotBeWritten) {
  const auto model = parse_shape(std::string(shape) + "[experts]\ncount = 4\nactive = 2\n",
                                 "moe.toml", {}, catalogue());
  const auto workload = workload_of(model, 16);
  const auto cluster = ideal(2);
  const auto plan = best(workload, cluster, "2bw", 2);
  EXPECT_EQ(message_of([&] { (void)configured(model, workload, plan); }),
            "[plan] train has no experts, but experts.count = 4; leave out --out, or plan a dense "
            "model");
  EXPECT_EQ(not_trainable(workload, plan.candidate), "train has no experts yet");
}

}  // namespace
}  // namespace penstock::plan
