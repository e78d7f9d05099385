#include "simulate/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace penstock::simulate {
namespace {

struct SimulatedRun {
  Costs costs;
  Request request;
  Result result;

  SimulatedRun(const char* name, schedule::PipelineShape shape, const ChunkCosts& one,
               std::int64_t batches = 8)
      : costs(uniform(shape, one)) {
    request.schedule = &schedule::find(name);
    request.shape = shape;
    request.batches = batches;
    request.costs = &costs;
    result = simulate(request);
  }
};

const ChunkCosts textbook{.forward = 1,
                          .backward = 2,
                          .backward_input = 1,
                          .backward_weight = 1,
                          .activation_bytes = 1024};

TEST(Report, JsonHasTheFiguresAndTheCausesOfEveryStage) {
  const SimulatedRun run("1f1b", {4, 8}, textbook);
  const std::string text = to_json(run.request, run.result, 0.5);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["schedule"], "1f1b");
  EXPECT_EQ(json["micro_batches"], 8);
  EXPECT_EQ(json["chunks"], 1);
  EXPECT_EQ(json["batches"], 8);
  EXPECT_EQ(json["step_time"], 33);
  EXPECT_EQ(json["total_time"], 8 * 33);
  EXPECT_EQ(json["bubble_fraction"], 3.0 / 11);
  EXPECT_EQ(json["total_bubble_fraction"], 3.0 / 11);
  EXPECT_EQ(json["slack"], -6);  // the last stage ends its batch 6 s before the first
  EXPECT_EQ(json["slack_pairs"], -2);
  EXPECT_EQ(json["peak_bytes"], 4096);
  EXPECT_EQ(json["actions"], run.result.actions);
  EXPECT_EQ(json["actions_per_second"], static_cast<double>(run.result.actions) / 0.5);
  EXPECT_EQ(json["batches_done"], 8);
  EXPECT_TRUE(json["stuck"].empty());
  EXPECT_EQ(json["stages"], 4);
  ASSERT_EQ(json["per_stage"].size(), 4U);
  const auto& last = json["per_stage"][3];
  EXPECT_EQ(last["bubble_fraction"], 3.0 / 11);
  EXPECT_EQ(last["work"], 24 * 4);
  const nlohmann::json causes = {{"activation", 3 * 4}, {"gradient", 0}, {"update", 6 * 4},
                                 {"transfer", 0},       {"blocked", 0},  {"idle", 0}};
  EXPECT_EQ(last["causes"], causes);
  EXPECT_EQ(last["peak_in_flight"], 1);
  EXPECT_EQ(last["peak_bytes"], 1024);
  EXPECT_EQ(last["slack"], -6);
  EXPECT_EQ(last["slacks"], nlohmann::json(std::vector<double>(8, -6)));
}

TEST(Report, TextShowsWhereTheTimeGoes) {
  const SimulatedRun run("1f1b", {2, 2}, textbook);
  EXPECT_EQ(
      to_text(run.request, run.result, 0.25),
      fmt::format("1f1b, 2 stages, 2 micro-batches, 8 batches\n"
                  "\n"
                  "step time   9 s per batch, from the end of batch 2 to that of batch 6\n"
                  "total time  72 s\n"
                  "bubble      33.33 %, of the whole run 33.33 %\n"
                  "slack       -2 s = -0.6667 F,B pairs: a stage waits that long for a reduction\n"
                  "simulated   {} actions in 0.25 s, {:.3g} million per second\n"
                  "\n"
                  "    stage     busy  where the time goes                   waits mostly for   in "
                  "flight  peak\n"
                  "        0   66.7 %  ########################gggggggggggg  gradient 33.3 %       "
                  "     2  2 KiB\n"
                  "        1   66.7 %  ########################aaaauuuuuuuu  update 22.2 %         "
                  "     1  1 KiB\n"
                  "  # work, e evaluation; waits: a activation, g gradient, u update, t transfer, "
                  "b blocked, . idle\n",
                  run.result.actions, static_cast<double>(run.result.actions) / 0.25e6));
}

TEST(Report, OneOfAKindIsNoPlural) {
  const SimulatedRun run("gpipe", {1, 1}, textbook, 1);
  const std::string text = to_text(run.request, run.result, 1);
  EXPECT_THAT(text, testing::StartsWith("gpipe, 1 stage, 1 micro-batch, 1 batch\n"));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Report, ManyStagesAreSummarisedAndLinesStayShort) {
  for (const int stages : {2, 8, 32, 33, 64, 1024}) {
    ChunkCosts big = textbook;
    big.activation_bytes = 1023e9;
    SimulatedRun run("gpipe", {stages, 4}, big, 3);
    const auto lines = lines_of(to_text(run.request, run.result, 1));
    const auto head = std::ranges::find_if(
        lines, [](const std::string& line) { return line.find("busy  where") != line.npos; });
    const auto rows = lines.end() - head - 2;
    EXPECT_EQ(rows, stages <= 32 ? stages : stages == 33 ? 17 : 32);
    for (const std::string& line : lines) EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(Report, AGroupShowsMeanTimesAndLargestPeaks) {
  SimulatedRun run("1f1b", {64, 1}, textbook, 3);
  run.result.stages[0].peak_in_flight = 77;
  run.result.stages[0].peak_bytes = 3072;
  run.result.stages[0].usage = {.work = 3, .wait_gradient = 1};
  run.result.stages[1].usage = {.work = 1, .wait_activation = 3};
  const auto lines = lines_of(to_text(run.request, run.result, 1));
  const auto line = std::ranges::find_if(
      lines, [](const std::string& each) { return each.starts_with("      0-1 "); });
  ASSERT_NE(line, lines.end());
  EXPECT_EQ(*line,
            "      0-1   50.0 %  ##################aaaaaaaaaaaaaagggg  activation 37.5 %         "
            "77  3 KiB");
}

TEST(Report, AStopNamesWhatEverybodyWaitsFor) {
  SimulatedRun run("1f1b", {40, 40}, textbook);
  run.costs.failure = Failure{.stage = 1, .at = 100};
  run.result = simulate(run.request);
  const auto lines = lines_of(to_text(run.request, run.result, 1));
  EXPECT_EQ(lines[2], fmt::format("The run came to a stop after {} s, with 0 complete batches.",
                                  run.result.total_time));
  EXPECT_THAT(lines[4], testing::StartsWith("  stage 1 failed at 100 s, before the end of "));
  EXPECT_EQ(lines[3 + 32], "  and 8 more stages");
  const auto json = nlohmann::json::parse(to_json(run.request, run.result, 1));
  EXPECT_EQ(json["stuck"].size(), 40U);
  EXPECT_EQ(json["batches_done"], 0);
}

}  // namespace
}  // namespace penstock::simulate
