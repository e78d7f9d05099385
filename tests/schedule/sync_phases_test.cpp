#include "schedule/sync_phases.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/grid_file.h"
#include "schedule/symbolic.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using tests::unroll;
using enum ActionKind;

/// Synchronous batches, then `delayed` ones, then synchronous ones to the run's end.
struct Lengths {
  std::int64_t first = 0;
  std::int64_t delayed = 0;
  std::int64_t last = 0;

  std::int64_t final_begin() const { return first + delayed; }
  std::int64_t batches() const { return first + delayed + last; }
};

std::string text(PipelineShape shape, const Lengths& lengths) {
  return fmt::format("d={} m={}, {} + {} + {} batches", shape.stages, shape.micro_batches,
                     lengths.first, lengths.delayed, lengths.last);
}

/// The version that batch b reads between synchronous phases.
std::int64_t version_read(std::int64_t batch, const Lengths& lengths) {
  if (batch < lengths.first || batch >= lengths.final_begin()) return batch;
  return std::max(batch - 1, lengths.first);
}

template <class Check>
void for_all_lengths(std::int64_t most, Check check) {
  for (std::int64_t first = 0; first <= most; ++first) {
    for (std::int64_t delayed = 0; delayed <= most + 1; ++delayed) {
      for (std::int64_t last = 0; last <= most; ++last) check(Lengths{first, delayed, last});
    }
  }
}

void expect_exact_versions(const Schedule& phased, PipelineShape shape, const Lengths& lengths) {
  const std::int64_t all = lengths.batches() * shape.micro_batches;
  for (int s = 0; s < shape.stages; ++s) {
    std::int64_t forwards = 0;
    std::int64_t backwards = 0;
    std::int64_t updates = 0;
    for (const auto& action : unroll(phased, s, shape, lengths.batches())) {
      if (action.kind == forward || action.kind == backward) {
        auto& done = action.kind == forward ? forwards : backwards;
        EXPECT_EQ(action.batch * shape.micro_batches + action.micro_batch, done++);
        EXPECT_EQ(action.version, version_read(action.batch, lengths)) << describe(action);
      } else {
        EXPECT_EQ(action.version, action.batch + 1);
      }
      if (action.kind == update) {
        EXPECT_EQ(action.batch, updates++);
      }
    }
    EXPECT_EQ(forwards, all);
    EXPECT_EQ(backwards, all);
    EXPECT_EQ(updates, lengths.batches());
  }
}

TEST(SyncPhases, EveryForwardAndBackwardReadsTheVersionOfTheClosedForm) {
  for (int d = 1; d <= 8; ++d) {
    for (const int m : {d, d + 1, 2 * d, 2 * d + 3}) {
      for_all_lengths(3, [&](const Lengths& lengths) {
        SCOPED_TRACE(text({d, m}, lengths));
        expect_exact_versions(with_sync_phases(find("2bw"), lengths.first, lengths.final_begin()),
                              {d, m}, lengths);
      });
    }
  }
}

TEST(SyncPhases, ThePartsAreThoseOfTheSchedulesTheyComeFrom) {
  const PipelineShape shape{4, 6};
  const Lengths lengths{2, 5, 3};
  const auto phased = with_sync_phases(find("2bw"), lengths.first, lengths.final_begin());
  for (int s = 0; s < shape.stages; ++s) {
    std::vector<Action> expected;
    const auto append = [&](const char* name, std::int64_t batches) {
      const std::int64_t begin = expected.empty() ? 0 : expected.back().version;
      for (auto action : unroll(find(name), s, shape, batches)) {
        action.batch += begin;
        action.version += begin;
        expected.push_back(action);
      }
    };
    append("1f1b", lengths.first);
    append("2bw", lengths.delayed);
    append("1f1b", lengths.last);
    EXPECT_EQ(unroll(phased, s, shape, lengths.batches()), expected);
  }
}

TEST(SyncPhases, OneLongPhaseIsTheScheduleItself) {
  const PipelineShape shape{3, 4};
  for (int s = 0; s < shape.stages; ++s) {
    EXPECT_EQ(unroll(with_sync_phases(find("2bw"), 0, no_final_phase), s, shape, 7),
              unroll(find("2bw"), s, shape, 7));
    for (const auto& phased :
         {with_sync_phases(find("2bw"), 7, 7), with_sync_phases(find("2bw"), 0, 0),
          with_sync_phases(find("2bw"), 100, no_final_phase)}) {
      EXPECT_EQ(unroll(phased, s, shape, 7), unroll(find("1f1b"), s, shape, 7));
    }
  }
}

/// A run that ends anywhere is that of a schedule whose phases end there.
TEST(SyncPhases, ARunMayBeCutShortInEveryPhase) {
  const PipelineShape shape{3, 3};
  const Lengths lengths{3, 4, 3};
  const auto phased = with_sync_phases(find("2bw"), lengths.first, lengths.final_begin());
  for (std::int64_t batches = 1; batches <= lengths.batches(); ++batches) {
    const auto cut = [&](std::int64_t at) { return std::min(at, batches); };
    const auto shorter =
        with_sync_phases(find("2bw"), cut(lengths.first), cut(lengths.final_begin()));
    for (int s = 0; s < shape.stages; ++s) {
      EXPECT_EQ(unroll(phased, s, shape, batches), unroll(shorter, s, shape, batches));
      std::int64_t asked = -1;
      const auto actions = tests::drain(phased.generate(s, shape, [&](std::int64_t batch) {
        EXPECT_LE(batch, std::min(asked + 1, batches)) << "asked out of turn";
        asked = std::max(asked, batch);
        return batch < batches;
      }));
      EXPECT_EQ(asked, batches);
    }
  }
}

TEST(SyncPhases, PassTheValidatorInAllLengthsAndCutShort) {
  for (int d = 1; d <= 8; ++d) {
    for (const int m : {d, d + 1, 2 * d}) {
      const PipelineShape shape{d, m};
      for_all_lengths(2, [&](const Lengths& lengths) {
        const auto phased = with_sync_phases(find("2bw"), lengths.first, lengths.final_begin());
        for (std::int64_t batches = 1; batches <= lengths.batches(); ++batches) {
          SCOPED_TRACE(text(shape, lengths) + fmt::format(", cut at {}", batches));
          const auto verdict = validate_length(phased, shape, batches);
          ASSERT_FALSE(verdict.violation) << verdict.violation->message;
        }
      });
      const auto verdict = validate_sync_phases(find("2bw"), shape);
      EXPECT_FALSE(verdict.violation) << verdict.violation->message;
    }
  }
}

/// Neither limits nor the validator say what is computed: values do.
TEST(SyncPhases, TrainTheModelThatTheVersionsSay) {
  const PipelineShape shape{4, 5};
  const Lengths lengths{2, 4, 2};
  const auto phased = with_sync_phases(find("2bw"), lengths.first, lengths.final_begin());
  std::set<std::vector<std::uint64_t>> weights;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const auto outcome =
        tests::symbolic_outcome(phased, shape, lower(phased, shape, lengths.batches()), seed);
    ASSERT_TRUE(outcome);
    weights.insert(outcome->weights);
  }
  EXPECT_EQ(weights.size(), 1U) << "the order of execution must not matter";
}

TEST(SyncPhases, WorkWithAGridThatUpdatesTogether) {
  const PipelineShape shape{3, 4};
  const auto grid = parse_grid(to_grid(find("2bw"), shape), "own.grid");
  EXPECT_EQ(complaint_about_sync_phases(grid, shape), "");
  EXPECT_NO_THROW(require_valid_sync_phases(grid, shape));
  const auto phased = with_sync_phases(grid, 2, 5);
  EXPECT_EQ(phased.only_shape, shape);
  for (int s = 0; s < shape.stages; ++s) {
    EXPECT_EQ(unroll(phased, s, shape, 8),
              unroll(with_sync_phases(find("2bw"), 2, 5), s, shape, 8));
  }
}

TEST(SyncPhases, LimitsHoldForAllPhases) {
  const PipelineShape shape{4, 4};
  const auto phased = with_sync_phases(find("2bw"), 2, 5);
  for (int s = 0; s < shape.stages; ++s) {
    const auto limits = phased.limits(s, shape);
    EXPECT_EQ(limits.least_delay, 0);
    EXPECT_EQ(limits.most_delay, 1);
    EXPECT_EQ(limits.versions, s == 3 ? 1 : 2);
    EXPECT_EQ(limits.gradient_buffers, 2);
    EXPECT_EQ(limits.in_flight, 4 - s);
  }
  EXPECT_EQ(phased.reductions(shape), 2);
  EXPECT_EQ(phased.name, "2bw");
}

TEST(SyncPhases, SchedulesWithoutACommonDelayAreRefused) {
  EXPECT_EQ(complaint_about_sync_phases(find("2bw"), {4, 4}), "");
  EXPECT_EQ(complaint_about_sync_phases(find("1f1b"), {4, 4}),
            "schedule '1f1b' has no delay, so that changes nothing");
  EXPECT_EQ(complaint_about_sync_phases(find("zb-h1"), {4, 4}),
            "schedule 'zb-h1' has no delay, so that changes nothing");
  EXPECT_EQ(complaint_about_sync_phases(find("zb-v"), {4, 4, 2}),
            "schedule 'zb-v' has 2 chunks per stage, and updates without delay are those of "
            "'1f1b', which has one");
  EXPECT_EQ(complaint_about_sync_phases(find("paci"), {4, 4}),
            "schedule 'paci' updates every stage alone, and updates without delay are made by all "
            "stages together");
  try {
    require_valid_sync_phases(find("gpipe"), {4, 4});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[schedule] schedule 'gpipe' has no delay, so that changes nothing; set no "
                 "synchronous steps");
  }
  EXPECT_THROW(with_sync_phases(find("2bw"), 5, 4), std::invalid_argument);
  EXPECT_THROW(with_sync_phases(find("2bw"), -1, 4), std::invalid_argument);
}

/// A schedule whose actions are changed one by one.
template <class Change>
Schedule changed(Schedule schedule, Change change) {
  struct Local {
    static ActionStream apply(ActionStream actions, Change edit) {
      while (auto action = actions.next()) {
        edit(*action);
        co_yield *action;
      }
    }
  };
  schedule.generate = [inner = schedule.generate, change](int stage, PipelineShape shape,
                                                          HasBatch has_batch) {
    return Local::apply(inner(stage, shape, std::move(has_batch)), change);
  };
  return schedule;
}

std::string violation(const Schedule& schedule, PipelineShape shape, std::int64_t batches) {
  const auto verdict = validate_length(schedule, shape, batches);
  return verdict.violation ? verdict.violation->rule : "none";
}

TEST(SyncPhases, AWrongShiftOfVersionsIsCaught) {
  const PipelineShape shape{3, 3};
  const auto phased = with_sync_phases(find("2bw"), 2, 5);
  const auto reads = [](const Action& action) {
    return action.kind == forward || action.kind == backward;
  };
  // Behind the switch, one version too old: the pipeline has not kept that.
  EXPECT_EQ(violation(changed(phased,
                              [&](Action& action) {
                                if (reads(action) && action.batch == 2) --action.version;
                              }),
                      shape, 8),
            "weights are still kept");
  // The delayed part numbered as if it had begun at batch 1.
  EXPECT_EQ(violation(changed(phased,
                              [&](Action& action) {
                                const bool delayed = action.batch >= 2 && action.batch < 5;
                                if (delayed && reads(action)) --action.batch;
                              }),
                      shape, 8),
            "each micro-batch once");
  // A late way back: batch 5 reads W(4), as the delayed schedule would go on.
  EXPECT_EQ(violation(changed(phased,
                              [&](Action& action) {
                                if (reads(action) && action.batch == 5) --action.version;
                              }),
                      shape, 8),
            "weights are still kept");
  // An early one: batch 4 reads W(4), which is not there yet.
  EXPECT_EQ(violation(changed(phased,
                              [&](Action& action) {
                                if (reads(action) && action.batch == 4) ++action.version;
                              }),
                      shape, 8),
            "weights exist");
}

TEST(SyncPhases, TheProofHoldsTheDelayedPartToItsOwnRules) {
  const auto late = changed(find("2bw"), [](Action& action) {
    if (action.kind == forward && action.batch == 7) --action.version;
  });
  const auto verdict = validate_sync_phases(late, {3, 3});
  ASSERT_TRUE(verdict.violation);
  EXPECT_EQ(verdict.violation->rule, "delay of gradients");
  EXPECT_THROW(require_valid_sync_phases(late, {3, 3}), UserError);
  EXPECT_THROW(require_valid_sync_phases(find("2bw"), {3, 2}), UserError);
}

}  // namespace
}  // namespace penstock::schedule
