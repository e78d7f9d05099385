#include "schedule/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "base/error.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::unroll;
using enum ActionKind;

std::string letters(const std::vector<Action>& actions, int micro_batches) {
  std::string text;
  for (const auto& action : actions) {
    const auto index = std::to_string(action.batch * micro_batches + action.micro_batch);
    switch (action.kind) {
      case forward:
        text += "F" + index;
        break;
      case backward:
        text += "B" + index;
        break;
      case contribute:
        text += "C" + std::to_string(action.batch);
        break;
      case update:
        text += "U" + std::to_string(action.version);
        break;
      default:
        text += "?";
        break;
    }
    text += ' ';
  }
  return text;
}

TEST(Schedule, FlushedOrderIsTheTextbooks) {
  const PipelineShape shape{.stages = 2, .micro_batches = 3};
  EXPECT_EQ(letters(unroll(find("1f1b"), 0, shape, 2), 3),
            "F0 F1 B0 F2 B1 B2 C0 U1 F3 F4 B3 F5 B4 B5 C1 U2 ");
  EXPECT_EQ(letters(unroll(find("1f1b"), 1, shape, 2), 3),
            "F0 B0 F1 B1 F2 B2 C0 U1 F3 B3 F4 B4 F5 B5 C1 U2 ");
}

TEST(Schedule, DoubleBufferedOrderNeverFlushesAndUpdatesAsLateAsPossible) {
  const PipelineShape shape{.stages = 2, .micro_batches = 2};
  EXPECT_EQ(letters(unroll(find("2bw"), 0, shape, 4), 2),
            "F0 F1 B0 F2 B1 C0 F3 B2 U1 F4 B3 C1 F5 B4 U2 F6 B5 C2 F7 B6 B7 C3 U3 U4 ");
  EXPECT_EQ(letters(unroll(find("2bw"), 1, shape, 4), 2),
            "F0 B0 F1 B1 C0 F2 B2 F3 B3 C1 U1 F4 B4 F5 B5 C2 U2 F6 B6 F7 B7 C3 U3 U4 ");
}

TEST(Schedule, UnknownNameListsTheKnownOnes) {
  try {
    find("1f2b");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "[schedule] no schedule is called '1f2b'; choose one of 1f1b, 2bw");
  }
}

/// Every property a run's weights depend on, for one stage.
void check_stage(const Schedule& schedule, int stage, PipelineShape shape, std::int64_t batches) {
  SCOPED_TRACE(testing::Message() << schedule.name << " d=" << shape.stages
                                  << " m=" << shape.micro_batches << " s=" << stage);
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> in_flight;  // -> version
  std::set<std::pair<std::int64_t, std::int64_t>> done;
  std::map<std::int64_t, std::int64_t> contributed;
  std::map<std::int64_t, int> backwards_of;
  std::int64_t newest = 0;
  std::size_t most_in_flight = 0;
  for (const auto& action : unroll(schedule, stage, shape, batches)) {
    const std::pair key{action.batch, action.micro_batch};
    switch (action.kind) {
      case forward:
        EXPECT_EQ(action.version, schedule.version_read(action.batch));
        EXPECT_LE(action.version, newest);                      // exists already
        EXPECT_GT(action.version, newest - schedule.versions);  // is still kept
        EXPECT_TRUE(in_flight.emplace(key, action.version).second);
        most_in_flight = std::max(most_in_flight, in_flight.size());
        break;
      case backward:
        ASSERT_TRUE(in_flight.contains(key));
        EXPECT_EQ(in_flight.begin()->first, key);  // first in, first out
        EXPECT_EQ(action.version, in_flight.at(key));
        in_flight.erase(key);
        EXPECT_TRUE(done.insert(key).second);
        ++backwards_of[action.batch];
        break;
      case contribute:
        EXPECT_EQ(backwards_of[action.batch], shape.micro_batches);
        contributed[action.batch] = 1;
        break;
      case update:
        EXPECT_EQ(action.version, newest + 1);
        EXPECT_EQ(action.batch, newest);
        EXPECT_TRUE(contributed.contains(action.batch));
        for (const auto& [micro_batch, version] : in_flight) {
          EXPECT_NE(version, action.version - schedule.versions) << "overwritten under a reader";
        }
        newest = action.version;
        break;
      default:
        ADD_FAILURE() << "unexpected action";
    }
  }
  EXPECT_EQ(newest, batches);
  EXPECT_TRUE(in_flight.empty());
  EXPECT_EQ(static_cast<std::int64_t>(done.size()), batches * shape.micro_batches);
  EXPECT_LE(static_cast<int>(most_in_flight), shape.stages - stage);
}

TEST(Schedule, EveryStageKeepsTheVersionRules) {
  for (const auto& schedule : registry()) {
    for (int d = 1; d <= 8; ++d) {
      for (int m = d; m <= 12; ++m) {
        for (int s = 0; s < d; ++s) check_stage(schedule, s, {d, m}, 5);
      }
    }
  }
}

TEST(Schedule, TheLastUpdatesAreAppliedWhateverTheLength) {
  for (const std::int64_t batches : {0, 1, 2, 3}) {
    for (const auto& schedule : registry()) check_stage(schedule, 0, {3, 4}, batches);
  }
}

/// Unit-time simulation of all stages: does everybody finish, and how long does a batch take?
struct Timing {
  bool finished = true;
  double seconds_per_batch = 0;
};

Timing simulate(const Schedule& schedule, PipelineShape shape, std::int64_t batches) {
  const auto d = static_cast<std::size_t>(shape.stages);
  std::vector<std::vector<Action>> programs;
  for (int s = 0; s < shape.stages; ++s) programs.push_back(unroll(schedule, s, shape, batches));
  std::map<std::tuple<ActionKind, std::size_t, std::int64_t>, double> done;
  std::map<std::int64_t, std::vector<double>> contributions;
  std::vector<std::size_t> next(d, 0);
  std::vector<double> now(d, 0.0);
  std::map<std::int64_t, double> batch_end;
  bool progress = true;
  const auto number = [&](const Action& a) {
    return a.batch * shape.micro_batches + a.micro_batch;
  };
  while (progress) {
    progress = false;
    for (std::size_t s = 0; s < d; ++s) {
      while (next[s] < programs[s].size()) {
        const Action& a = programs[s][next[s]];
        double ready = 0;
        if (a.kind == forward && s > 0) {
          const auto found = done.find({forward, s - 1, number(a)});
          if (found == done.end()) break;
          ready = found->second;
        } else if (a.kind == backward && s + 1 < d) {
          const auto found = done.find({backward, s + 1, number(a)});
          if (found == done.end()) break;
          ready = found->second;
        } else if (a.kind == update) {
          const auto& all = contributions[a.batch];
          if (all.size() < d) break;
          for (const double time : all) ready = std::max(ready, time);
        }
        const double cost = a.kind == forward ? 1 : a.kind == backward ? 2 : 0;
        now[s] = std::max(now[s], ready) + cost;
        if (a.kind == forward || a.kind == backward) done[{a.kind, s, number(a)}] = now[s];
        if (a.kind == contribute) contributions[a.batch].push_back(now[s]);
        if (a.kind == backward && s == 0) batch_end[a.batch] = now[s];
        ++next[s];
        progress = true;
      }
    }
  }
  Timing timing;
  for (std::size_t s = 0; s < d; ++s) timing.finished &= next[s] == programs[s].size();
  timing.seconds_per_batch = batch_end[batches - 2] - batch_end[batches - 3];
  return timing;
}

TEST(Schedule, DoubleBufferedHasNoBubbleAndFlushedHasTheTextbooks) {
  for (int d = 1; d <= 8; ++d) {
    for (int m = d; m <= 10; ++m) {
      const Timing flushed = simulate(find("1f1b"), {d, m}, 8);
      const Timing async = simulate(find("2bw"), {d, m}, 8);
      ASSERT_TRUE(flushed.finished);
      ASSERT_TRUE(async.finished);
      EXPECT_DOUBLE_EQ(async.seconds_per_batch, 3.0 * m) << "d=" << d << " m=" << m;
      EXPECT_DOUBLE_EQ(flushed.seconds_per_batch, 3.0 * (m + d - 1)) << "d=" << d << " m=" << m;
    }
  }
}

}  // namespace
}  // namespace penstock::schedule
