#include "timeline/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "timelines.h"

namespace penstock::timeline {
namespace {

using schedule::ActionKind;
using testing::HasSubstr;

class TraceFile : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / (std::string("trace_") + test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    file_ = folder_ / "trace.json";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string text() const {
    std::ifstream stream(file_);
    std::ostringstream content;
    content << stream.rdbuf();
    return content.str();
  }

  nlohmann::json json() const { return nlohmann::json::parse(text()); }

  /// The message that reading `content` gives, without "[trace] FILE: ".
  std::string refusal(const std::string& content) const {
    write_file_atomically(file_, content);
    return refusal();
  }
  std::string refusal() const {
    try {
      read_trace(file_);
    } catch (const UserError& error) {
      const std::string message = error.what();
      const std::string start = "[trace] " + file_.string() + ": ";
      EXPECT_THAT(message, testing::StartsWith(start));
      EXPECT_EQ(message.find('\n'), std::string::npos);
      return message.substr(start.size());
    }
    return "no error";
  }

  /// A good trace with one part of its text replaced.
  std::string with(const std::string& part, const std::string& replacement) {
    auto content = good();
    const auto at = content.find(part);
    EXPECT_NE(at, std::string::npos) << part;
    return content.replace(at, part.size(), replacement);
  }
  std::string good() {
    const auto timeline = two_stages();
    write_trace(file_, timeline, header_of(timeline));
    return text();
  }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

std::int64_t nanoseconds(double seconds) { return std::llround(1e9 * seconds); }

void expect_same(const Timeline& read, const Timeline& written) {
  EXPECT_EQ(read.schedule, written.schedule);
  EXPECT_EQ(read.shape, written.shape);
  EXPECT_EQ(read.placement, written.placement);
  ASSERT_EQ(read.stages.size(), written.stages.size());
  for (std::size_t s = 0; s < read.stages.size(); ++s) {
    ASSERT_EQ(read.stages[s].size(), written.stages[s].size());
    for (std::size_t i = 0; i < read.stages[s].size(); ++i) {
      const Span& a = read.stages[s][i];
      const Span& b = written.stages[s][i];
      ASSERT_EQ(a.action, b.action) << s << ' ' << i;
      ASSERT_EQ(nanoseconds(a.begin), nanoseconds(b.begin)) << s << ' ' << i;
      ASSERT_EQ(nanoseconds(a.end), nanoseconds(b.end)) << s << ' ' << i;
      ASSERT_EQ(nanoseconds(a.transfer), nanoseconds(b.transfer)) << s << ' ' << i;
    }
  }
}

TEST_F(TraceFile, RoundTripIsExactToTheNanosecond) {
  const auto check = [&](const Timeline& timeline) {
    write_trace(file_, timeline, header_of(timeline));
    expect_same(read_trace(file_).timeline, timeline);
  };
  check(two_stages());
  check(simulated("2bw", {4, 8, 1}, 5, {.latency = 0.25}));
  check(simulated("zb-v", {3, 4, 2}, 3, {.update = 0.5}));
  // Odd nanoseconds, a week after the start of the run.
  auto late = two_stages();
  double at = 600000.000000001;
  for (auto& spans : late.stages) {
    for (Span& item : spans) {
      item.begin = at;
      item.end = at += 1.23456789e-4;
      if (item.transfer > 0) item.transfer = 1.7e-8;
    }
  }
  check(late);
}

TEST_F(TraceFile, KeepsEvaluationsAndWholeTransfers) {
  Timeline timeline{"1f1b", {1, 1, 1}, schedule::Placement::loop, {{}}};
  timeline.stages[0] = {span(ActionKind::receive_evaluation, 3, 77, 0, 1, 1),
                        span(ActionKind::evaluate, 3, 77, 1, 2),
                        span(ActionKind::send_evaluation, 3, 77, 2, 2.5)};
  write_trace(file_, timeline, header_of(timeline));
  expect_same(read_trace(file_).timeline, timeline);
  EXPECT_EQ(json()["traceEvents"].size(), 3U + 3U) << "names, and no wait before the transfer";
}

TEST_F(TraceFile, KeepsCaptures) {
  Timeline timeline{"2bw", {1, 1, 1}, schedule::Placement::loop, {{}}};
  timeline.stages[0] = {span(ActionKind::update, 3, 0, 0, 1),
                        span(ActionKind::capture, 3, 0, 1, 3)};
  for (auto& span : timeline.stages[0]) span.action.version = 4;
  write_trace(file_, timeline, header_of(timeline));
  expect_same(read_trace(file_).timeline, timeline);
  const auto event = json()["traceEvents"].back();
  EXPECT_EQ(event["name"], "S W(4)");
  EXPECT_EQ(event["cat"], "work");
}

// What the format asks of an event that viewers draw.
TEST_F(TraceFile, IsATraceForBrowsers) {
  auto header = header_of(two_stages());
  header.notes["message_bytes"] = "4096";
  write_trace(file_, two_stages(), header);
  const auto trace = json();
  EXPECT_EQ(trace["otherData"]["format"], "penstock trace");
  EXPECT_EQ(trace["otherData"]["format_version"], 1);
  EXPECT_EQ(trace["otherData"]["notes"]["message_bytes"], "4096");
  std::map<std::string, int> categories;
  std::vector<std::string> threads;
  for (const auto& event : trace["traceEvents"]) {
    EXPECT_EQ(event["pid"], 1);
    if (event["ph"] == "M") {
      if (event["name"] == "thread_name") threads.push_back(event["args"]["name"]);
      continue;
    }
    EXPECT_EQ(event["ph"], "X");
    EXPECT_TRUE(event["ts"].is_number() && event["dur"].is_number() && event["tid"].is_number());
    for (const char* key : {"batch", "micro_batch", "version", "chunk"}) {
      EXPECT_TRUE(event["args"].contains(key));
    }
    ++categories[event["cat"]];
  }
  EXPECT_THAT(threads, testing::ElementsAre("stage 0", "stage 1"));
  // 4 F, 4 B, 2 contributions, 2 updates; 3 receives and 2 reductions; the receives' ends.
  EXPECT_EQ(categories, (std::map<std::string, int>{{"work", 12}, {"wait", 5}, {"transfer", 3}}));
  const auto& last = trace["traceEvents"].back();
  EXPECT_EQ(last["name"], "U W(1)");
  EXPECT_EQ(last["ts"], 10e6) << "microseconds";
  EXPECT_EQ(last["dur"], 1e6);
}

TEST_F(TraceFile, StopsAtItsLimitAndTellsSo) {
  const auto timeline = two_stages();
  TraceWriter writer(file_, header_of(timeline), 3);
  for (std::size_t i = 0; i < timeline.stages[0].size(); ++i) {
    for (const int stage : {0, 1}) {
      const auto& spans = timeline.stages[static_cast<std::size_t>(stage)];
      if (i < spans.size()) writer.add(stage, spans[i]);
    }
  }
  EXPECT_EQ(writer.written(), 3);
  EXPECT_EQ(writer.left_out(), 14);
  writer.close();
  EXPECT_EQ(json()["penstock"]["note"], "recording stopped at 3 spans; 14 more are left out");
  const auto trace = read_trace(file_);
  EXPECT_EQ(trace.left_out, 14);
  EXPECT_EQ(trace.timeline.stages[0].size(), 2U);
  EXPECT_EQ(trace.timeline.stages[1].size(), 1U);
}

TEST_F(TraceFile, AppearsOnlyWhenClosed) {
  {
    TraceWriter writer(file_, header_of(two_stages()));
    writer.add(0, two_stages().stages[0][0]);
    EXPECT_FALSE(std::filesystem::exists(file_));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "no temporary is left";
}

TEST_F(TraceFile, NotesAndNamesMayHoldAnything) {
  auto header = header_of(two_stages());
  header.schedule = "a \"b\" \\ \n\xff";
  header.planned = true;
  header.notes["k\"ey"] = "\t</script>";
  write_trace(file_, two_stages(), header);
  const auto read = read_trace(file_).header;
  EXPECT_EQ(read.schedule, "a \"b\" \\ \n\xef\xbf\xbd") << "what is no UTF-8 is replaced";
  EXPECT_TRUE(read.planned);
  EXPECT_EQ(read.notes, header.notes);
}

TEST_F(TraceFile, RefusesWhatIsNoTrace) {
  EXPECT_EQ(refusal(), "cannot be read (No such file or directory); give a trace file");
  EXPECT_EQ(refusal("stage 0: F0"), "is not JSON (byte 1); give a trace file");
  EXPECT_EQ(refusal(""), "ends in the middle, after 0 bytes; write it again");
  const std::string foreign =
      "is not a trace of Penstock (otherData.format is not 'penstock trace' before the events); "
      "give a file that 'penstock schedule --trace' or 'penstock train --trace' wrote";
  for (const char* other :
       {"{}", "[]", "3", R"({"traceEvents":[{"ph":"X"}]})", R"({"otherData":{"format":"other"}})",
        R"({"otherData":{}})", R"({"otherData":7,"traceEvents":[{"a":1}]})"}) {
    EXPECT_EQ(refusal(other), foreign) << other;
  }
}

TEST_F(TraceFile, RefusesEveryTruncation) {
  const std::string content = good();
  for (std::size_t size = 1; size + 2 < content.size(); size += 1 + size % 37) {
    EXPECT_EQ(refusal(content.substr(0, size)),
              "ends in the middle, after " + std::to_string(size) + " bytes; write it again");
  }
}

TEST_F(TraceFile, RefusesContradictionsWithTheirPlace) {
  EXPECT_EQ(refusal(with("\"format_version\":1", "\"format_version\":2")),
            "has format version 2, this program reads version 1; read it with the program that "
            "wrote it");
  EXPECT_EQ(refusal(with("\"stages\":2", "\"stages\":1")),
            "event 17 has tid = 2, which is not within 1 to 1; write the file again");
  EXPECT_EQ(refusal(with("\"stages\":2", "\"stages\":0")),
            "the header has stages = 0, which is not within 1 to 65536; write the file again");
  EXPECT_EQ(refusal(with("\"stages\":2", "\"stages\":99999999999999999999")),
            "the header has no whole number 'stages'; write the file again");
  EXPECT_EQ(refusal(with("\"chunks\":1", "\"chunks\":2000000000")),
            "the header has chunks = 2000000000, which is not within 1 to 524288; write the file "
            "again")
      << "with two stages 2^20 pieces";
  EXPECT_EQ(refusal(with("\"micro_batches\":2", "\"micro_batches\":2147483647")),
            "the header has micro_batches = 2147483647, which is not within 1 to 1048576; write "
            "the file again");
  EXPECT_EQ(refusal(with("\"placement\":\"loop\"", "\"placement\":\"ring\"")),
            "the header has placement = 'ring', known are 'loop' and 'v'; write the file again");
  EXPECT_EQ(refusal(with("\"action\":\"forward\"", "\"action\":\"dream\"")),
            "event 6 has the unknown action 'dream'; write the file again");
  EXPECT_EQ(refusal(with("\"micro_batch\":1", "\"micro_batch\":2")),
            "event 7 has micro_batch = 2, which is not within 0 to 1; write the file again");
  EXPECT_EQ(refusal(with("\"chunk\":0", "\"chunk\":1")),
            "event 6 has chunk = 1, which is not within 0 to 0; write the file again");
  EXPECT_EQ(refusal(with("\"batch\":0", "\"batch\":-1")),
            "event 6 has batch = -1, which is not within 0 to 9223372036854775807; write the file "
            "again");
  EXPECT_EQ(refusal(with("\"batch\":0", "\"batch\":\"x\"")),
            "event 6 has no whole number 'batch'; write the file again");
  EXPECT_EQ(refusal(with("\"ts\":0.000", "\"ts\":-1.0")),
            "event 6 has ts = -1.0, which is no time in microseconds; write the file again");
  EXPECT_EQ(refusal(with("\"ts\":0.000", "\"ts\":1e300")),
            "event 6 has ts = 1e+300, which is no time in microseconds; write the file again");
  EXPECT_EQ(refusal(with("\"dur\":1000000.000", "\"dur\":null")),
            "event 6 has no number 'dur'; write the file again");
  EXPECT_EQ(refusal(with("\"dur\":1000000.000", "\"dur\":1500000.000")),
            "event 7 begins on stage 0 at 1000000.000 us, before the one before it ends; write the "
            "file again");
  EXPECT_EQ(refusal(with("\"ts\":4500000.000,\"dur\":500000.000",
                         "\"ts\":4600000.000,\"dur\":400000.000")),
            "holds 18 spans, its end mark tells of 17; write it again")
      << "a transfer that does not follow its wait";
  EXPECT_EQ(refusal(with("\"spans\":17", "\"spans\":18")),
            "holds 17 spans, its end mark tells of 18; write it again");
  EXPECT_EQ(refusal(with(",\n\"penstock\"", ",\n\"end\"")), "has no end mark; write it again");
}

}  // namespace
}  // namespace penstock::timeline
