#include "observe/step_profile.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

namespace penstock::observe {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double giga = 1e9;

/// Two stages over four updates: 10 s and 6 s of training. All numbers are exact in binary.
std::vector<StageTimes> example() {
  return {{.updates = 4,
           .seconds = 10,
           .operations = {{"mlp", "product dX", 16, 4, {.flops = 300 * giga}},
                          {"mlp", "swiglu", 16, 1, {.bytes = 10 * giga}},
                          {"rest", "forward", 16, 0.5, {}}},
           .waits = {.gradient = 3, .core = 0.5}},
          {.updates = 4,
           .seconds = 6,
           .operations = {{"mlp", "product dX", 8, 2, {.flops = 150 * giga}},
                          {"update", "adamw", 4, 1, {.bytes = 24 * giga}}},
           .waits = {.gradient = 1, .blocked = 0.25}}};
}

StepProfile profile_of(const std::vector<StageTimes>& stages) {
  return step_profile(
      stages,
      {.flops_per_s = 100 * giga, .bytes_per_s = 20 * giga, .conditions = "fp32, 2 threads"});
}

ProfileRow row(const StepProfile& profile, const std::string& part, const std::string& name) {
  for (const auto& found : profile.rows) {
    if (found.part == part && found.name == name) return found;
  }
  throw std::out_of_range(part + ": " + name);
}

TEST(StepProfile, IsTheMeanOfStagesAndUpdates) {
  const auto profile = profile_of(example());
  EXPECT_EQ(profile.stages, 2);
  EXPECT_EQ(profile.updates, 4);
  EXPECT_EQ(profile.step_seconds, 2);  // 16 s of two stages in four updates
}

TEST(StepProfile, SumsEqualOperationsOfAllStages) {
  const auto profile = profile_of(example());
  const auto product = row(profile, "mlp", "product dX");
  EXPECT_EQ(product.seconds, 1.5);  // 6 s in four updates
  EXPECT_EQ(product.calls, 6);
  EXPECT_EQ(product.share, 0.375);  // of 2 x 2 s
  EXPECT_EQ(product.flops_per_s, 75 * giga);
  EXPECT_EQ(product.bytes_per_s, std::nullopt);
  EXPECT_EQ(product.share_of_bound, 0.75);
}

TEST(StepProfile, ComparesCopiesWithCopies) {
  const auto profile = profile_of(example());
  EXPECT_EQ(row(profile, "mlp", "swiglu").share_of_bound, 0.5);
  // More than memory gives: its data were in a cache.
  EXPECT_EQ(row(profile, "update", "adamw").share_of_bound, 1.2);
  EXPECT_EQ(row(profile, "update", "adamw").bytes_per_s, 24 * giga);
}

TEST(StepProfile, TheLargerOfFlopsAndBytesIsTheBound) {
  const std::vector<StageTimes> stages{
      {.updates = 1,
       .seconds = 8,
       .operations = {{"a", "few flops", 1, 4, {.flops = 100 * giga, .bytes = 40 * giga}},
                      {"a", "many flops", 1, 4, {.flops = 200 * giga, .bytes = 20 * giga}}}}};
  const auto profile = profile_of(stages);
  EXPECT_EQ(row(profile, "a", "few flops").share_of_bound, 0.5);   // 2 s of memory
  EXPECT_EQ(row(profile, "a", "many flops").share_of_bound, 0.5);  // 2 s of products
}

TEST(StepProfile, WhatHasNoWorkHasNoRate) {
  const auto rest = row(profile_of(example()), "rest", "forward");
  EXPECT_EQ(rest.calls, 4);
  EXPECT_EQ(rest.flops_per_s, std::nullopt);
  EXPECT_EQ(rest.bytes_per_s, std::nullopt);
  EXPECT_EQ(rest.share_of_bound, std::nullopt);
}

TEST(StepProfile, RowsAddUpToTheStep) {
  const auto profile = profile_of(example());
  EXPECT_EQ(row(profile, "wait", "gradient").seconds, 1);
  EXPECT_EQ(row(profile, "wait", "blocked").seconds, 0.0625);
  EXPECT_EQ(row(profile, "wait", "core").seconds, 0.125);
  EXPECT_EQ(row(profile, "wait", "activation").seconds, 0);
  EXPECT_EQ(row(profile, "wait", "idle").seconds, 0.6875);  // 1 s and 1.75 s
  double seconds = 0;
  double shares = 0;
  for (const auto& each : profile.rows) {
    seconds += each.seconds;
    shares += each.share;
  }
  EXPECT_EQ(seconds, 4);
  EXPECT_EQ(shares, 1);
}

TEST(StepProfile, LargestOperationsComeFirstAndWaitsLast) {
  const auto profile = profile_of(example());
  std::vector<std::string> names;
  for (const auto& each : profile.rows) names.push_back(each.name);
  EXPECT_THAT(names,
              testing::ElementsAre("product dX", "swiglu", "adamw", "forward", "activation",
                                   "gradient", "update", "transfer", "blocked", "core", "idle"));
}

TEST(StepProfile, ProductsTogether) {
  auto stages = example();
  stages[0].operations.push_back({"head", "product dW", 4, 2, {.flops = 150 * giga}});
  const auto products = profile_of(stages).products;
  EXPECT_EQ(products.seconds, 2);
  EXPECT_EQ(products.calls, 7);
  EXPECT_EQ(products.share, 0.5);
  EXPECT_EQ(products.flops_per_s, 75 * giga);
  EXPECT_EQ(products.share_of_bound, 0.75);
}

TEST(StepProfileText, HasALinePerRow) {
  const std::string text = to_text(profile_of(example()));
  EXPECT_THAT(text,
              HasSubstr("where a step of 2000.00 ms goes, over 2 stages, mean of 4 updates\n"));
  EXPECT_THAT(text, HasSubstr("mlp        product dX           1500.00   37.5%       6    75.0 "
                              "GFLOP/s    75% ########\n"));
  EXPECT_THAT(text, HasSubstr("update     adamw                 250.00    6.2%       1    24.0 "
                              "GB/s      120% ##########\n"));
  EXPECT_THAT(text, HasSubstr("wait       idle                  687.50   17.2%\n"));
  EXPECT_THAT(text, HasSubstr("all                             4000.00  100.0%\n"));
  EXPECT_THAT(text, HasSubstr("(fp32, 2 threads): products 100.0 GFLOP/s, copies 20.0 GB/s"));
  EXPECT_THAT(text, Not(HasSubstr("activation")));  // there was none
}

TEST(StepProfileText, SmallRowsShareOne) {
  auto stages = example();
  stages[0].operations.push_back({"a", "tiny", 4, 0.015625, {}});  // of 16 s: below 0.1 %
  stages[0].operations.push_back({"b", "tiny", 4, 0.0078125, {}});
  const std::string text = to_text(profile_of(stages));
  EXPECT_THAT(text, Not(HasSubstr("tiny")));
  EXPECT_THAT(text, HasSubstr("2 smaller                          5.86    0.1%\n"));
}

TEST(StepProfileText, NoLineIsTooLong) {
  std::istringstream lines(to_text(profile_of(example())));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(StepProfileJson, KeysAndValues) {
  const auto json = to_json(profile_of(example()));
  EXPECT_EQ(json["stages"], 2);
  EXPECT_EQ(json["updates"], 4);
  EXPECT_EQ(json["step_seconds"], 2.0);
  EXPECT_EQ(json["bounds"], nlohmann::json::parse(R"({"flops_per_s": 1e11, "bytes_per_s": 2e10,
                                                      "conditions": "fp32, 2 threads"})"));
  EXPECT_EQ(json["products"]["share"], 0.375);
  ASSERT_EQ(json["rows"].size(), 11u);
  EXPECT_EQ(json["rows"][0], nlohmann::json::parse(R"({
      "part": "mlp", "name": "product dX", "seconds": 1.5, "share": 0.375, "calls": 6.0,
      "flops_per_s": 7.5e10, "bytes_per_s": null, "share_of_bound": 0.75})"));
}

}  // namespace
}  // namespace penstock::observe
