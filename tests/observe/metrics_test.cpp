#include "observe/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace penstock::observe {
namespace {

UpdateRecord update(std::int64_t step) {
  return {.step = step,
          .loss = 0.1 + 0.2,
          .gradient_norm = 1.0 / 3,
          .clip_factor = 1,
          .lr = 3e-4,
          .tokens = 4096,
          .seconds = 1.5,
          .busy = {0.75, 1}};
}

/// With everything that a record can have.
UpdateRecord full_update() {
  UpdateRecord record = update(7);
  record.stages = {StageRecord{.gradient_norm = 0.25,
                               .work = 0.5,
                               .least_delay = 0,
                               .most_delay = 1,
                               .waits = {.activation = 0.01,
                                         .gradient = 0.02,
                                         .update = 0.03,
                                         .transfer = 0.04,
                                         .blocked = 0.05,
                                         .core = 0.06}},
                   std::nullopt};
  record.groups = {{"gains", {.error_ratio = undefined, .update_ratio = 0.125}},
                   {"matrices", {.error_ratio = 0.5, .update_ratio = 0.001}}};
  return record;
}

TEST(JsonLine, Update) {
  EXPECT_EQ(to_json_line(full_update()),
            R"({"step":7,"loss":0.30000000000000004,"gradient_norm":0.3333333333333333,)"
            R"("clip_factor":1.0,"lr":0.0003,"tokens":4096,"seconds":1.5,"busy":[0.75,1.0],)"
            R"("skipped":false,"stages":[{"gradient_norm":0.25,"work":0.5,"delay":[0,1],)"
            R"("waits":{"activation":0.01,"gradient":0.02,"update":0.03,"transfer":0.04,)"
            R"("blocked":0.05,"core":0.06}},null],"groups":{)"
            R"("gains":{"error_ratio":null,"update_ratio":0.125},)"
            R"("matrices":{"error_ratio":0.5,"update_ratio":0.001}}})");
}

TEST(JsonLine, ASkippedUpdate) {
  UpdateRecord record = update(7);
  record.loss = undefined;
  record.skipped = true;
  const auto read = nlohmann::json::parse(to_json_line(record));
  EXPECT_TRUE(read.at("loss").is_null());
  EXPECT_EQ(read.at("skipped"), true);
  EXPECT_EQ(read.at("stages"), nlohmann::json::array());
  EXPECT_EQ(read.at("groups"), nlohmann::json::object());
}

TEST(JsonLine, Evaluation) {
  const EvalRecord record{
      .step = 7, .val_loss = 2.5, .sequences = 64, .seconds = 9, .duration = 0.25};
  EXPECT_EQ(to_json_line(record),
            R"({"step":7,"val_loss":2.5,"sequences":64,"seconds":9.0,"duration":0.25})");
}

TEST(JsonLine, RoundTripsAtFullPrecision) {
  for (const double x : {1.0 / 3, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0}) {
    UpdateRecord record = update(1);
    record.loss = x;
    const auto read = nlohmann::json::parse(to_json_line(record)).at("loss").get<double>();
    EXPECT_EQ(read, x);
    EXPECT_EQ(std::signbit(read), std::signbit(x));
  }
}

TEST(JsonLine, WhatIsNotFiniteBecomesNull) {
  UpdateRecord record = update(1);
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.gradient_norm = std::numeric_limits<double>::infinity();
  const auto read = nlohmann::json::parse(to_json_line(record));
  EXPECT_TRUE(read.at("loss").is_null());
  EXPECT_TRUE(read.at("gradient_norm").is_null());
}

TEST(ParseRecord, ReadsWhatWasWritten) {
  const auto line = to_json_line(full_update());
  const auto read = std::get<UpdateRecord>(parse_record(line));
  EXPECT_EQ(to_json_line(read), line);
  EXPECT_TRUE(std::isnan(read.groups.at("gains").error_ratio));
  EXPECT_EQ(read.stages.at(0)->waits.core, 0.06);
  EXPECT_FALSE(read.stages.at(1));

  UpdateRecord record = full_update();
  record.skipped = true;
  record.loss = undefined;
  record.busy = {0.5, undefined};
  record.stages[0]->gradient_norm = undefined;
  const auto skipped = to_json_line(record);
  EXPECT_EQ(to_json_line(std::get<UpdateRecord>(parse_record(skipped))), skipped);

  const auto evaluation = to_json_line(
      EvalRecord{.step = 7, .val_loss = 1.0 / 3, .sequences = 64, .seconds = 9, .duration = 0.25});
  EXPECT_EQ(to_json_line(std::get<EvalRecord>(parse_record(evaluation))), evaluation);
}

TEST(ParseRecord, TakesRecordsOfOtherVersions) {
  const auto read = std::get<UpdateRecord>(
      parse_record(R"({"step":7,"loss":2.5,"gradient_norm":1,"clip_factor":1,"lr":0.0003,)"
                   R"("tokens":4096,"seconds":2,"busy":[0.75],"mood":"good"})"));
  EXPECT_EQ(read.step, 7);
  EXPECT_EQ(read.loss, 2.5);
  EXPECT_FALSE(read.skipped);
  EXPECT_TRUE(read.stages.empty());
  EXPECT_TRUE(read.groups.empty());
}

TEST(ParseRecord, RefusesWhatIsNoRecord) {
  const auto whole = to_json_line(full_update());
  for (const std::string& line :
       {std::string(), std::string("{}"), std::string("[1]"), whole.substr(0, whole.size() - 1),
        std::string(R"({"step":7,"val_loss":1})"), whole + "}",
        std::string(R"({"step":"7","loss":2.5,"gradient_norm":1,"clip_factor":1,"lr":0.0003,)"
                    R"("tokens":4096,"seconds":2,"busy":[0.75]})")}) {
    EXPECT_THROW(parse_record(line), std::invalid_argument) << line;
  }
}

class MetricsFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("metrics_test_") +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string text() const {
    std::ifstream file(folder_ / "run" / "metrics.jsonl");
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }

  std::filesystem::path folder_;
};

TEST_F(MetricsFile, EveryLineIsThereAtOnce) {
  MetricsWriter writer(folder_ / "run" / "metrics.jsonl");
  EXPECT_EQ(text(), "");
  writer.write(update(1));
  EXPECT_EQ(text(), to_json_line(update(1)) + "\n");
  writer.write(EvalRecord{.step = 1});
  EXPECT_EQ(text(), to_json_line(update(1)) + "\n" + to_json_line(EvalRecord{.step = 1}) + "\n");
}

TEST_F(MetricsFile, StartsEmpty) {
  { MetricsWriter(folder_ / "run" / "metrics.jsonl").write(update(1)); }
  MetricsWriter(folder_ / "run" / "metrics.jsonl").write(update(2));
  EXPECT_EQ(text(), to_json_line(update(2)) + "\n");
}

TEST_F(MetricsFile, GoesOnBehindWhatIsThere) {
  const auto file = folder_ / "run" / "metrics.jsonl";
  { MetricsWriter(file).write(update(1)); }
  MetricsWriter(file, MetricsWriter::Start::append).write(update(2));
  EXPECT_EQ(text(), to_json_line(update(1)) + "\n" + to_json_line(update(2)) + "\n");
  std::filesystem::remove(file);
  MetricsWriter(file, MetricsWriter::Start::append).write(update(3));
  EXPECT_EQ(text(), to_json_line(update(3)) + "\n");
}

TEST(MetricsFull, NamesTheFile) {
  MetricsWriter writer("/dev/full");
  try {
    writer.write(update(1));
    FAIL() << "a full device took a line";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_space_on_device);
    EXPECT_STREQ(error.what(), "cannot write '/dev/full': No space left on device");
  }
}

TEST_F(MetricsFile, TakesBackALineThatDidNotFit) {
  MetricsWriter writer(folder_ / "run" / "metrics.jsonl");
  writer.write(update(1));
  const std::string first = text();
  // A limit on the file's size in the middle of the second line stands for a full disk.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limited = before;
  limited.rlim_cur = first.size() + 10;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  EXPECT_THROW(writer.write(update(2)), std::system_error);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(text(), first);
}

TEST_F(MetricsFile, CannotBeOpened) {
  std::filesystem::create_directories(folder_ / "run" / "metrics.jsonl");
  try {
    MetricsWriter writer(folder_ / "run" / "metrics.jsonl");
    FAIL() << "a folder was opened as a file";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::is_a_directory);
    EXPECT_NE(std::string(error.what()).find("metrics.jsonl"), std::string::npos);
  }
}

}  // namespace
}  // namespace penstock::observe
