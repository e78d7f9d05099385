#include "plan/report.h"

#include <gtest/gtest.h>

#include "plan/example.h"

namespace penstock::plan {
namespace {

struct Searched {
  Workload workload = equal_units(8, 16);
  Cluster cluster = ideal(4);
  Outcome outcome;

  Searched() {
    Request request;
    request.workload = &workload;
    request.cluster = &cluster;
    request.space.replicas = 1;
    request.space.stages = 4;
    request.space.micro_batch = 1;
    request.space.recompute = {Recompute::none};
    outcome = search(request);
  }
};

TEST(ReportTest, SaysWhatTheLosersLoseBy) {
  const Searched s;
  const Plan& best = s.outcome.ranked.front();
  EXPECT_EQ(why_slower(best, best), "");
  bool seen = false;
  for (const auto& plan : s.outcome.best_of_schedule) {
    if (plan.candidate.schedule->name != "1f1b") continue;
    seen = true;
    // 3 of 19 slots.
    EXPECT_EQ(why_slower(plan, best), "+18.8 %: bubble 15.8 % of the time (best plan 0.0 %)");
  }
  EXPECT_TRUE(seen);
}

TEST(ReportTest, RecomputationIsNamed) {
  const Searched s;
  Plan slow = s.outcome.ranked.front();
  slow.candidate.recompute = Recompute::block;
  slow.step_seconds *= 1.5;
  slow.busiest += 0.5;
  EXPECT_EQ(why_slower(slow, s.outcome.ranked.front()),
            "+50.0 %: the busiest stage works 500.0 ms longer, recomputation included");
}

TEST(ReportTest, JsonHasPlansAssumptionsAndRejections) {
  const Searched s;
  const auto json = to_json(s.workload, s.cluster, s.outcome);
  EXPECT_EQ(json["plans"].size(), s.outcome.ranked.size());
  EXPECT_EQ(json["plans"][0]["partition"].size(), 4u);
  EXPECT_EQ(json["plans"][0]["memory_bytes"].size(), 4u);
  EXPECT_EQ(json["plans"][0]["why_slower"], "");
  EXPECT_GT(json["assumptions"].size(), 5u);
  EXPECT_EQ(json["ranks"], 4);
  double total = 0;
  for (const auto& [part, bytes] : json["plans"][0]["memory_bytes"][0].items()) {
    if (part != "total") total += bytes.get<double>();
  }
  EXPECT_DOUBLE_EQ(total, json["plans"][0]["memory_bytes"][0]["total"].get<double>());
}

TEST(ReportTest, TheTextHasEverySection) {
  const Searched s;
  const auto report = text(s.workload, s.cluster, s.outcome);
  for (const char* section :
       {"Ranked\n", "Best of each schedule", "Best at each depth", "Memory of the best plan",
        "Assumed\n", "All numbers are predictions"}) {
    EXPECT_NE(report.find(section), std::string::npos) << section;
  }
}

}  // namespace
}  // namespace penstock::plan
