#include "simulate/cost_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/atomic_file.h"
#include "base/error.h"
#include "support/temporary_folder.h"

namespace penstock::simulate {
namespace {

constexpr schedule::PipelineShape two{.stages = 2, .micro_batches = 4};

constexpr const char* complete = R"(
message_bytes = 1024
reduction = 0.5
jitter = 0.25
link = { latency = 2, bandwidth = 64 }
links = [ { latency = 3 }, {} ]
[[stages]]
forward = 1
backward = 2.5
backward_input = 1.5
backward_weight = [0.5, 0.75, 1]
activation_bytes = 4096
update = 3
contribute = [0.125]
slowdown = 1.5
weight_bytes = 10
gradient_bytes = 20
optimizer_bytes = 30
[[stages]]
forward = 4
backward = 8
)";

TEST(CostFile, ReadsWhatIsGivenAndDefaultsTheRest) {
  const Costs costs = read_costs(complete, "a.toml", two);
  EXPECT_EQ(costs.message_bytes, 1024);
  EXPECT_EQ(costs.reduction, 0.5);
  EXPECT_EQ(costs.jitter, 0.25);
  EXPECT_EQ(costs.link.latency, 2);
  EXPECT_EQ(costs.link.bandwidth, 64);
  ASSERT_EQ(costs.links.size(), 2U);
  EXPECT_EQ(costs.links[0].latency, 3);
  EXPECT_EQ(costs.links[0].bandwidth, 64);
  EXPECT_EQ(costs.links[1].latency, 2);
  ASSERT_EQ(costs.stages.size(), 2U);
  const StageCosts& first = costs.stages[0];
  EXPECT_EQ(first.chunks[0].forward.mean, 1);
  EXPECT_EQ(first.chunks[0].backward.mean, 2.5);
  EXPECT_EQ(first.chunks[0].backward_input.mean, 1.5);
  EXPECT_EQ(first.chunks[0].backward_weight.samples, (std::vector<double>{0.5, 0.75, 1}));
  EXPECT_EQ(first.chunks[0].activation_bytes, 4096);
  EXPECT_EQ(first.update.mean, 3);
  EXPECT_EQ(first.contribute.samples, (std::vector<double>{0.125}));
  EXPECT_EQ(first.slowdown, 1.5);
  EXPECT_EQ(first.weight_bytes, 10);
  EXPECT_EQ(first.gradient_bytes, 20);
  EXPECT_EQ(first.optimizer_bytes, 30);
  const StageCosts& second = costs.stages[1];
  EXPECT_EQ(second.chunks[0].backward_input.mean, 4);
  EXPECT_EQ(second.chunks[0].backward_weight.mean, 4);
  EXPECT_EQ(second.update.mean, 0);
  EXPECT_EQ(second.slowdown, 1);
}

TEST(CostFile, OneStageStandsForAllAndItsChunksShare) {
  const Costs costs = read_costs(
      "[[stages]]\nforward = 4\nbackward_input = [2, 6]\nbackward_weight = 8\n"
      "activation_bytes = 16",
      "a.toml", {.stages = 3, .micro_batches = 3, .chunks = 2});
  ASSERT_EQ(costs.stages.size(), 3U);
  ASSERT_EQ(costs.stages[2].chunks.size(), 2U);
  const ChunkCosts& chunk = costs.stages[2].chunks[1];
  EXPECT_EQ(chunk.forward.mean, 2);
  EXPECT_EQ(chunk.backward_input.samples, (std::vector<double>{1, 3}));
  EXPECT_EQ(chunk.backward_weight.mean, 4);
  EXPECT_EQ(chunk.backward.mean, 6) << "the sum of the means of dX and dW";
  EXPECT_EQ(chunk.activation_bytes, 8);
  EXPECT_TRUE(std::isinf(costs.link.bandwidth));
}

TEST(CostFile, ChunksMayDiffer) {
  const Costs costs = read_costs(
      R"({"stages": [{"update": 1, "chunks": [{"forward": 1, "backward": 2},
                                              {"forward": 3, "backward": 4}]}]})",
      "a.json", {.stages = 1, .micro_batches = 2, .chunks = 2});
  EXPECT_EQ(costs.stages[0].chunks[0].forward.mean, 1);
  EXPECT_EQ(costs.stages[0].chunks[1].backward.mean, 4);
  EXPECT_EQ(costs.stages[0].update.mean, 1);
}

TEST(CostFile, WhatIsWrittenReadsTheSame) {
  Costs costs = read_costs(complete, "a.toml", two);
  costs.stages[0].chunks[0].forward = 0.1;  // not exact in decimals of few digits
  costs.links[1].bandwidth = INFINITY;
  costs.link.bandwidth = INFINITY;
  const std::string json = to_json(costs);
  const Costs again = read_costs(json, "b.json", two);
  EXPECT_EQ(to_json(again), json);
  EXPECT_EQ(again.stages[0].chunks[0].forward.mean, 0.1);
  EXPECT_EQ(again.stages[0].chunks[0].backward_weight.samples,
            costs.stages[0].chunks[0].backward_weight.samples);
  EXPECT_EQ(again.stages[0].contribute.samples, costs.stages[0].contribute.samples);
  EXPECT_EQ(again.stages[0].slowdown, 1.5);
  EXPECT_EQ(again.stages[0].optimizer_bytes, 30);
  EXPECT_EQ(again.stages[0].gradient_bytes, 20);
  EXPECT_EQ(again.stages[0].weight_bytes, 10);
  EXPECT_EQ(again.stages[1].chunks[0].backward.mean, 8);
  EXPECT_EQ(again.stages[0].chunks[0].activation_bytes, 4096);
  EXPECT_EQ(again.stages[0].update.mean, 3);
  EXPECT_EQ(again.links[0].latency, 3);
  EXPECT_EQ(again.links[0].bandwidth, 64);
  EXPECT_TRUE(std::isinf(again.links[1].bandwidth));
  EXPECT_EQ(again.message_bytes, 1024);
  EXPECT_EQ(again.jitter, 0.25);
  EXPECT_EQ(again.reduction, 0.5);
}

void expect_refused(const char* text, const char* message) {
  try {
    read_costs(text, "a.toml", two);
    FAIL() << message;
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), message);
  }
}

TEST(CostFile, MistakesAreNamedWithTheirPlace) {
  expect_refused("[[stages]]\nforwrad = 1\nbackward = 2",
                 "[costs] a.toml: stages[0] has no key 'forwrad'; did you mean 'forward'?");
  expect_refused("bandwidth_of_it = 3\n[[stages]]\nforward = 1\nbackward = 2",
                 "[costs] a.toml: the file has no key 'bandwidth_of_it'; it can have "
                 "message_bytes, reduction, jitter, link, links, stages");
  expect_refused("link = { latncy = 3 }\n[[stages]]\nforward = 1\nbackward = 2",
                 "[costs] a.toml: link has no key 'latncy'; did you mean 'latency'?");
  expect_refused(R"({"stages": [{"chunks": [{"forward": 1, "bakward": 2}]}]})",
                 "[costs] a.toml: stages[0].chunks[0] has no key 'bakward'; did you mean "
                 "'backward'?");
  expect_refused(R"({"stages": [{"chunks": [{"forward": 1, "backward": 2}], "forward": 1}]})",
                 "[costs] a.toml: stages[0] has no key 'forward'; it can have chunks, contribute, "
                 "update, slowdown, weight_bytes, gradient_bytes, optimizer_bytes");
  expect_refused("[[stages]]\nforward = \"fast\"\nbackward = 2",
                 "[costs] a.toml: stages[0].forward is \"fast\", but must be seconds or a list of "
                 "samples in seconds; write forward = 0.01 or forward = [0.01, 0.012]");
  expect_refused("[[stages]]\nforward = []\nbackward = 2",
                 "[costs] a.toml: stages[0].forward is [], but must be seconds or a list of "
                 "samples in seconds; write forward = 0.01 or forward = [0.01, 0.012]");
  expect_refused("[[stages]]\nforward = [1, true]\nbackward = 2",
                 "[costs] a.toml: stages[0].forward is [1,true], but must be seconds or a list of "
                 "samples in seconds; write forward = 0.01 or forward = [0.01, 0.012]");
  expect_refused("[[stages]]\nforward = 1\nbackward = 2\nslowdown = 'x'",
                 "[costs] a.toml: stages[0].slowdown is \"x\", but must be a number; write one");
  expect_refused("[[stages]]\nbackward = 2",
                 "[costs] a.toml: stages[0] has no forward; give its seconds");
  expect_refused("[[stages]]\nforward = 2\nbackward_input = 1",
                 "[costs] a.toml: stages[0] has no backward, nor both backward_input and "
                 "backward_weight; give its seconds");
  expect_refused("",
                 "[costs] a.toml: no stages are given; write [[stages]] once, or once per "
                 "stage");
  expect_refused("stages = 3",
                 "[costs] a.toml: stages is 3, but must be a list of tables; write [[stages]]");
  expect_refused("stages = [3]",
                 "[costs] a.toml: stages[0] is 3, but must be a table with keys; write them in it");
  expect_refused("link = 3\n[[stages]]\nforward = 1\nbackward = 2",
                 "[costs] a.toml: link is 3, but must be a table with keys; write them in it");
  expect_refused("links = 3\n[[stages]]\nforward = 1\nbackward = 2",
                 "[costs] a.toml: links is 3, but must be a list of tables; write [[links]]");
  expect_refused(R"({"stages": [{}, {}, {}]})",
                 "[costs] a.toml: 3 stages are given, but the pipeline has 2; give one entry per "
                 "stage, or a single one for all");
  expect_refused(R"({"stages": [{"chunks": []}]})",
                 "[costs] a.toml: stages[0] has 0 chunks, but the pipeline has 1 per stage; give "
                 "one entry per chunk");
  expect_refused("[[stages]]\nforward = -1\nbackward = 2",
                 "[costs] forward of stage 0 is -1, but must be a finite number of seconds; set "
                 "it to 0 or more");
  expect_refused("{\n\"stages\": [\n}",
                 "[costs] a.toml:3 is not valid JSON; check the brackets and commas there");
}

TEST(CostFile, TextThatIsNotTomlIsNamedWithItsLine) {
  try {
    read_costs("jitter = 1\nreduction = = 2", "a.toml", two);
    FAIL();
  } catch (const UserError& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.substr(0, 37), "[costs] a.toml:2 is not valid TOML: E") << what;
  }
}

TEST(CostFile, LoadsAFileAndNamesOneThatIsNotThere) {
  const support::TemporaryFolder folder;
  const auto file = folder.path() / "costs.toml";
  write_file_atomically(file, complete);
  EXPECT_EQ(load_costs(file, two).message_bytes, 1024);
  try {
    load_costs("nowhere/costs.toml", two);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[costs] 'nowhere/costs.toml' cannot be read; give a file with costs");
  }
  try {
    load_costs(folder.path(), two);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(),
              "[costs] '" + folder.path().string() + "' cannot be read; give a file with costs");
  }
}

TEST(CostFile, AnEmptyFileIsCalledSo) {
  const support::TemporaryFolder folder;
  const auto file = folder.path() / "costs.toml";
  write_file_atomically(file, "");
  try {
    load_costs(file, two);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(), "[costs] '" + file.string() + "' is empty; write [[stages]] in it");
  }
}

}  // namespace
}  // namespace penstock::simulate
