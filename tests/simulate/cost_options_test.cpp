#include "simulate/cost_options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "support/temporary_folder.h"

namespace penstock::simulate {
namespace {

constexpr schedule::PipelineShape shape{.stages = 3, .micro_batches = 4, .chunks = 2};

const ChunkCosts& last_chunk(const Costs& costs) { return costs.stages[2].chunks[1]; }

TEST(CostOptions, NothingGivenIsTheTextbooksPipeline) {
  const Costs costs = make_costs({}, shape);
  EXPECT_EQ(last_chunk(costs).forward.mean, 0.5);
  EXPECT_EQ(last_chunk(costs).backward.mean, 1);
  EXPECT_EQ(last_chunk(costs).backward_input.mean, 0.5);
  EXPECT_EQ(last_chunk(costs).backward_weight.mean, 0.5);
  EXPECT_EQ(costs.stages[2].update.mean, 0);
  EXPECT_FALSE(costs.failure.has_value());
}

TEST(CostOptions, EveryOptionArrives) {
  CostOptions options;
  options.forward = 2;
  options.backward = 8;
  options.backward_input = 4;
  options.backward_weight = 6;
  options.contribute = 3;
  options.update = 5;
  options.reduction = 7;
  options.latency = 9;
  options.bandwidth = 11;
  options.message_bytes = 13;
  options.activation_bytes = 16;
  options.weight_bytes = 17;
  options.gradient_bytes = 19;
  options.optimizer_bytes = 23;
  options.jitter = 0.5;
  options.stragglers = {"1:2.5", "2:3"};
  options.failure = "2@12.5";
  options.seed = 29;
  const Costs costs = make_costs(options, shape);
  EXPECT_EQ(last_chunk(costs).forward.mean, 1);
  EXPECT_EQ(last_chunk(costs).backward.mean, 4);
  EXPECT_EQ(last_chunk(costs).backward_input.mean, 2);
  EXPECT_EQ(last_chunk(costs).backward_weight.mean, 3);
  EXPECT_EQ(last_chunk(costs).activation_bytes, 8);
  EXPECT_EQ(costs.stages[2].contribute.mean, 3);
  EXPECT_EQ(costs.stages[2].update.mean, 5);
  EXPECT_EQ(costs.stages[2].weight_bytes, 17);
  EXPECT_EQ(costs.stages[2].gradient_bytes, 19);
  EXPECT_EQ(costs.stages[2].optimizer_bytes, 23);
  EXPECT_EQ(costs.stages[0].slowdown, 1);
  EXPECT_EQ(costs.stages[1].slowdown, 2.5);
  EXPECT_EQ(costs.stages[2].slowdown, 3);
  EXPECT_EQ(costs.reduction, 7);
  EXPECT_EQ(costs.link.latency, 9);
  EXPECT_EQ(costs.link.bandwidth, 11);
  EXPECT_EQ(costs.message_bytes, 13);
  EXPECT_EQ(costs.jitter, 0.5);
  EXPECT_EQ(costs.failure->stage, 2);
  EXPECT_EQ(costs.failure->at, 12.5);
  EXPECT_EQ(costs.seed, 29U);
}

TEST(CostOptions, ThePartsOfTheBackwardFollowFromWhatIsGiven) {
  CostOptions options;
  options.backward = 8;
  EXPECT_EQ(last_chunk(make_costs(options, shape)).backward_input.mean, 2);
  EXPECT_EQ(last_chunk(make_costs(options, shape)).backward_weight.mean, 2);
  options.backward_input = 6;
  EXPECT_EQ(last_chunk(make_costs(options, shape)).backward_input.mean, 3);
  EXPECT_EQ(last_chunk(make_costs(options, shape)).backward_weight.mean, 2);
  options.backward.reset();
  options.backward_weight = 10;
  EXPECT_EQ(last_chunk(make_costs(options, shape)).backward.mean, 8);
}

TEST(CostOptions, FlagsTakePrecedenceOverTheFile) {
  const support::TemporaryFolder folder;
  CostOptions options;
  options.file = (folder.path() / "costs.toml").string();
  write_file_atomically(options.file,
                        "link = { latency = 1, bandwidth = 2 }\nlinks = [{ latency = 3 }]\n"
                        "[[stages]]\nforward = [4, 6]\nbackward = 8\nslowdown = 2\nupdate = 5\n");
  Costs costs = make_costs(options, shape);
  EXPECT_EQ(last_chunk(costs).forward.samples, (std::vector<double>{2, 3}));
  EXPECT_EQ(costs.stages[0].slowdown, 2);
  EXPECT_EQ(costs.links[0].latency, 3);
  options.forward = 10;
  options.latency = 7;
  options.stragglers = {"0:4"};
  costs = make_costs(options, shape);
  EXPECT_TRUE(last_chunk(costs).forward.samples.empty());
  EXPECT_EQ(last_chunk(costs).forward.mean, 5);
  EXPECT_EQ(last_chunk(costs).backward.mean, 4);
  EXPECT_EQ(costs.stages[0].update.mean, 5);
  EXPECT_EQ(costs.stages[0].slowdown, 4);
  EXPECT_EQ(costs.stages[1].slowdown, 2);
  EXPECT_EQ(costs.link.latency, 7);
  EXPECT_EQ(costs.links[0].latency, 7);
  EXPECT_EQ(costs.links[0].bandwidth, 2);
}

void expect_refused(const CostOptions& options, const char* message) {
  try {
    make_costs(options, shape);
    FAIL() << message;
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), message);
  }
}

TEST(CostOptions, MistakesAreNamed) {
  CostOptions options;
  options.stragglers = {"3:2"};
  expect_refused(options,
                 "[simulate] --straggler '3:2' names stage 3, but the stages are 0 to 2; choose "
                 "one");
  options.stragglers = {"-1:2"};
  expect_refused(options,
                 "[simulate] --straggler '-1:2' names stage -1, but the stages are 0 to 2; choose "
                 "one");
  for (const char* text : {"2", "2:", ":2", "2:3x", "a:2", "2@3", "2.5:1", ""}) {
    options.stragglers = {text};
    expect_refused(options, fmt::format("[simulate] --straggler '{}' is not a stage and a number; "
                                        "write STAGE:FACTOR",
                                        text)
                                .c_str());
  }
  options.stragglers = {"2:-3"};
  expect_refused(options,
                 "[costs] slowdown of stage 2 is -3, but must be above 0; set 1 for full speed");
  options.stragglers.clear();
  options.failure = "1:5";
  expect_refused(options,
                 "[simulate] --fail '1:5' is not a stage and a number; write "
                 "STAGE@SECONDS");
  options.failure = "5@1";
  expect_refused(options,
                 "[simulate] --fail '5@1' names stage 5, but the stages are 0 to 2; choose one");
  options.failure = "1@-5";
  expect_refused(options,
                 "[costs] the time of the failure is -5, but must be a finite number of seconds; "
                 "set it to 0 or more");
}

}  // namespace
}  // namespace penstock::simulate
