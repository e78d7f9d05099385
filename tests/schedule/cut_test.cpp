#include "schedule/cut.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "schedule/execution.h"
#include "schedule/grid_file.h"
#include "schedule/sync_phases.h"
#include "schedule/validate.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::drain;
using tests::first_batches;
using enum ActionKind;

std::string text(const Schedule& schedule, PipelineShape shape) {
  return fmt::format("{} d={} m={} v={}", schedule.name, shape.stages, shape.micro_batches,
                     shape.chunks);
}

using WholeRun = Run;  // within tests, Run is something of theirs
using CheckShape = std::function<void(const Schedule&, PipelineShape)>;

void for_each_shape(int most_stages, int most_micro_batches, const CheckShape& check) {
  for (const auto& schedule : registry()) {
    for (int d = 1; d <= most_stages; ++d) {
      for (int m = 1; m <= most_micro_batches; ++m) {
        for (int v = 1; v <= 3; ++v) {
          const PipelineShape shape{d, m, v};
          if (!schedule.complaint(shape).empty()) continue;
          SCOPED_TRACE(text(schedule, shape));
          check(schedule, shape);
        }
      }
    }
  }
}

/// 2bw between synchronous phases, and grids of asynchronous schedules.
void for_each_composed(int most_stages, const CheckShape& check) {
  for (int d = 1; d <= most_stages; ++d) {
    for (const int m : {d, d + 2}) {
      const PipelineShape shape{d, m};
      for (const auto& [first, final_begin] :
           {std::pair<std::int64_t, std::int64_t>{0, no_final_phase},
            {2, no_final_phase},
            {0, 3},
            {1, 2},
            {2, 4},
            {3, 8},
            {2, 2}}) {
        SCOPED_TRACE(fmt::format("phases {} to {}", first, final_begin));
        check(with_sync_phases(find("2bw"), first, final_begin), shape);
      }
      for (const auto* name : {"2bw", "pipedream", "paci", "zb-h1"}) {
        auto grid = parse_grid(to_grid(find(name), shape), fmt::format("{}.grid", name));
        check(grid, shape);
      }
    }
  }
}

bool always(std::int64_t) { return true; }

StreamPlan plan_of(std::int64_t batches, EvaluationPlan evaluation = {}, std::int64_t cut = 0) {
  return {.evaluation = evaluation,
          .capture_due = always,
          .cut = cut,
          .has_batch = first_batches(batches)};
}

/// Cuts at which the stage's state is captured, in a run of so many batches.
std::vector<std::int64_t> captures(const Schedule& schedule, int stage, PipelineShape shape,
                                   std::int64_t batches) {
  std::vector<std::int64_t> cuts;
  for (const auto& action : drain(stage_stream(schedule, stage, shape, plan_of(batches)))) {
    if (action.kind == capture) cuts.push_back(action.version);
  }
  return cuts;
}

// ---- where the cuts are

TEST(Cut, IsCapturedRightBehindItsUpdate) {
  const auto actions = drain(stage_stream(find("2bw"), 0, {2, 2}, plan_of(5, {1, 1})));
  int found = 0;
  for (std::size_t i = 1; i < actions.size(); ++i) {
    if (actions[i].kind != capture) continue;
    ++found;
    Action before = actions[i];
    before.kind = update;
    EXPECT_EQ(actions[i - 1], before);
    EXPECT_EQ(actions[i + 1].kind, evaluate);
  }
  EXPECT_EQ(found, 3);
}

TEST(Cut, OnlyThoseThatAreDue) {
  auto plan = plan_of(9);
  plan.capture_due = [](std::int64_t version) { return version % 3 == 0; };
  std::vector<std::int64_t> cuts;
  for (const auto& action : drain(stage_stream(find("gpipe"), 0, {1, 1}, plan))) {
    if (action.kind == capture) cuts.push_back(action.version);
  }
  EXPECT_EQ(cuts, (std::vector<std::int64_t>{3, 6, 9}));
}

TEST(Cut, IsRegularWhereTheRunDoesNotEndYet) {
  using Cuts = std::vector<std::int64_t>;
  for (int s = 0; s < 4; ++s) {
    EXPECT_EQ(captures(find("1f1b"), s, {4, 4}, 5), (Cuts{1, 2, 3, 4, 5}));
    // The update to W(4) is made for batch 5, which does not exist.
    EXPECT_EQ(captures(find("2bw"), s, {4, 4}, 5), (Cuts{1, 2, 3}));
    EXPECT_EQ(captures(find("2bw"), s, {4, 4}, 1), Cuts{});
    // Stage 0 is three micro-batches ahead.
    EXPECT_EQ(captures(find("pipedream"), s, {4, 1}, 5), (Cuts{1, 2}));
    EXPECT_EQ(captures(find("pipedream"), s, {4, 3}, 5), (Cuts{1, 2, 3, 4}));
    EXPECT_EQ(captures(find("paci"), s, {4, 2}, 5), (Cuts{1, 2, 3}));
    // Batches 2 to 5 are delayed, and drained before batch 6.
    EXPECT_EQ(captures(with_sync_phases(find("2bw"), 2, 6), s, {4, 4}, 8),
              (Cuts{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(captures(with_sync_phases(find("2bw"), 2, 6), s, {4, 4}, 5), (Cuts{1, 2, 3}));
  }
}

/// Straight from the definition: the actions before the cut are those of a run without end.
TEST(Cut, IsRegularExactlyWhereThePastIsThatOfARunWithoutEndOnAllStages) {
  const CheckShape check = [](const Schedule& schedule, PipelineShape shape) {
    constexpr std::int64_t longest = 6;
    constexpr std::int64_t far = 60;  // more than any stage asks for before it makes W(longest)
    const auto past = [&](int stage, std::int64_t cut, std::int64_t batches) {
      std::vector<Action> actions;
      auto stream = schedule.generate(stage, shape, first_batches(batches));
      while (const auto action = stream.next()) {
        actions.push_back(*action);
        if (action->kind == update && action->version == cut) break;
      }
      return actions;
    };
    for (std::int64_t batches = 1; batches <= longest; ++batches) {
      std::vector<std::int64_t> expected;
      for (std::int64_t cut = 1; cut <= batches; ++cut) {
        bool regular = true;
        for (int s = 0; s < shape.stages; ++s) {
          regular = regular && past(s, cut, batches) == past(s, cut, far);
        }
        if (regular) expected.push_back(cut);
      }
      for (int s = 0; s < shape.stages; ++s) {
        const auto captured = captures(schedule, s, shape, batches);
        // A stage that has nothing ahead of its updates may see no difference where the run ends.
        EXPECT_TRUE(std::ranges::includes(expected, captured)) << batches << " batches";
        EXPECT_EQ(captured, captures(schedule, 0, shape, batches)) << "stages must agree";
        if (shape.stages > 1) {
          EXPECT_EQ(captured, expected) << batches << " batches, stage " << s;
        }
      }
    }
  };
  for_each_shape(6, 8, check);
  for_each_composed(4, check);
}

// ---- the rules of cuts

TEST(Cut, EveryScheduleIsWithoutComplaintInEveryShape) {
  int shapes = 0;
  const CheckShape check = [&](const Schedule& schedule, PipelineShape shape) {
    EXPECT_EQ(complaint_about_cuts(schedule, shape), "");
    EXPECT_EQ(complaint_about_cuts(schedule, shape, 12), "");
    ++shapes;
  };
  for_each_shape(8, 16, check);
  for_each_composed(8, check);
  EXPECT_GT(shapes, 900);
  for (int d = 1; d <= 8; ++d) {
    for (const int m : {d, d + 1, 3 * d}) {
      EXPECT_EQ(complaint_about_cuts_with_sync_phases(find("2bw"), {d, m}), "");
    }
  }
}

TEST(Cut, MessagesInTransit) {
  using Transit = std::vector<InTransit>;
  // Nothing of a flushed pipeline; of 2bw one gradient to every stage but the last, which is always
  // one backward ahead.
  for (int s = 0; s < 4; ++s) {
    EXPECT_EQ(in_transit(find("1f1b"), {4, 4}, s, 3), (Transit{{0, 0}}));
    EXPECT_EQ(in_transit(find("2bw"), {4, 4}, s, 3), (Transit{{0, s < 3 ? 1 : 0}}));
    EXPECT_EQ(in_transit(find("pipedream"), {4, 2}, s, 3), (Transit{{s > 0 ? 1 : 0, 0}}));
    EXPECT_EQ(in_transit(with_sync_phases(find("2bw"), 2, 6), {4, 4}, s, 2), (Transit{{0, 0}}));
    EXPECT_EQ(in_transit(with_sync_phases(find("2bw"), 2, 6), {4, 4}, s, 4),
              (Transit{{0, s < 3 ? 1 : 0}}));
    EXPECT_EQ(in_transit(with_sync_phases(find("2bw"), 2, 6), {4, 4}, s, 5), (Transit{{0, 0}}));
  }
  EXPECT_EQ(in_transit(find("zb-v"), {2, 4, 2}, 1, 2), (Transit{{0, 0}, {0, 0}}));
}

/// Counted from whole runs, message by message, rather than from counters at the cut.
TEST(Cut, MessagesInTransitAreThoseSentBeforeAndReceivedBehindIt) {
  const CheckShape check = [](const Schedule& schedule, PipelineShape shape) {
    constexpr std::int64_t batches = 9;
    const auto updates_before = [&](int stage, ActionKind kind, std::int32_t chunk) {
      std::vector<std::int64_t> result;  // of each message
      std::int64_t updates = 0;
      for (const auto& action : drain(stage_stream(schedule, stage, shape, plan_of(batches)))) {
        if (action.kind == update) ++updates;
        if (action.kind == kind && action.chunk == chunk) result.push_back(updates);
      }
      return result;
    };
    const auto regular = captures(schedule, 0, shape, batches);
    for (int piece = 0; piece + 1 < shape.pieces(); ++piece) {
      const auto low = place_of(schedule.placement, shape, piece);
      const auto high = place_of(schedule.placement, shape, piece + 1);
      for (const bool gradients : {false, true}) {
        const Place from = gradients ? high : low;
        const Place to = gradients ? low : high;
        const auto sent =
            updates_before(from.stage, gradients ? send_gradient : send_activation, from.chunk);
        const auto received =
            updates_before(to.stage, gradients ? receive_gradient : receive_activation, to.chunk);
        ASSERT_EQ(sent.size(), received.size());
        for (const std::int64_t cut : regular) {
          std::int64_t waiting = 0;
          for (std::size_t i = 0; i < sent.size(); ++i) {
            if (sent[i] < cut && received[i] >= cut) ++waiting;
            EXPECT_FALSE(sent[i] >= cut && received[i] < cut) << "orphan";
            EXPECT_FALSE(sent[i] < cut && received[i] > cut) << "behind the next update";
          }
          const auto told = in_transit(schedule, shape, to.stage, cut);
          const auto& there = told[static_cast<std::size_t>(to.chunk)];
          EXPECT_EQ(gradients ? there.gradients : there.activations, waiting);
        }
      }
    }
  };
  for_each_shape(4, 5, check);
  for_each_composed(4, check);
}

TEST(Cut, ComplaintsNameTheRuleThatAValidGridBreaks) {
  const auto complaint = [](std::string_view rows) {
    const auto schedule = parse_grid(rows, "own.grid");
    const auto verdict = validate(schedule, {2, 1});
    EXPECT_FALSE(verdict.violation) << verdict.violation->message;
    return complaint_about_cuts(schedule, {2, 1});
  };
  EXPECT_EQ(complaint("updates alone\n"
                      "delay 1\n"
                      "gradient_buffers 1 2\n"
                      "collect_after 2\n"
                      "reductions 3\n"
                      "stage 0: F0 | F1 B0 U\n"
                      "stage 1: | F0 B0 U-1\n"),
            "when it makes W(2), stage 0 has collected the reductions of 0 batches, stage 1 of 1");
  EXPECT_EQ(complaint("delay 2\n"
                      "stage 0: F0 F1 F2 | B0 U F3\n"
                      "stage 1: | U-3 F0 B0\n"),
            "a gradient of stage 1 that is in transit at the cut behind W(1) is received only "
            "behind W(2)");
}

TEST(Cut, ComplainsWhereAMicroBatchIsHalfDone) {
  const auto schedule = parse_grid(
      "delay 1\n"
      "gradient_buffers 2\n"
      "stage 0: | F0 X0 U-1 W0\n",
      "own.grid");
  const auto verdict = validate(schedule, {1, 1});
  EXPECT_FALSE(verdict.violation) << verdict.violation->message;
  EXPECT_EQ(complaint_about_cuts(schedule, {1, 1}),
            "when stage 0 makes W(1), 1 micro-batch lies between dX and dW");
}

/// The validator refuses these, too, since their evaluations block for the same reason.
TEST(Cut, ComplaintsNameTheRuleThatAnInvalidGridBreaks) {
  const auto complaint = [](std::string_view rows) {
    return complaint_about_cuts(parse_grid(rows, "own.grid"), {2, 1});
  };
  EXPECT_EQ(complaint("updates alone\n"
                      "delay 0 1\n"
                      "gradient_buffers 1 2\n"
                      "collect_after 2\n"
                      "reductions 3\n"
                      "stage 0: | F0 B0 U\n"
                      "stage 1: | F0 B0 U-1\n"),
            "stage 1 has asked for 2 batches when it makes W(1), but the schedule declares that "
            "stage 0 has asked for 1 and no stage for more");
  EXPECT_EQ(complaint("delay 1\n"
                      "stage 0: | F0 B0 U-1\n"
                      "stage 1: | F0 U-1 B0\n"),
            "stage 0 receives a gradient before it makes W(1) that stage 1 sends after it has made "
            "W(1)");
  EXPECT_EQ(complaint("delay 3\n"
                      "stage 0: F0 F1 F2 F3 | B0 U F4\n"
                      "stage 1: | U-4 F0 B0\n"),
            "3 messages with a gradient each are in transit from stage 1 to stage 0 at the cut "
            "behind W(1), but a channel holds 2");
}

/// One batch in advance of the first update, two of the others.
TEST(Cut, AGridMayBeginOtherwiseThanItGoesOn) {
  const auto grid = parse_grid(
      "delay 1..2\n"
      "stage 0: F0 F1 B0 U B1 F2 | F3 B2 U1\n",
      "own.grid");
  const auto verdict = validate(grid, {1, 1});
  EXPECT_FALSE(verdict.violation) << verdict.violation->message;
  EXPECT_EQ(grid.begun_at(1, {1, 1}), 2);
  EXPECT_EQ(grid.begun_at(2, {1, 1}), 4);
  EXPECT_EQ(grid.begun_at(3, {1, 1}), 5);
  EXPECT_EQ(grid.begun_at(1'000'000'000'000, {1, 1}), 1'000'000'000'002);
  EXPECT_EQ(complaint_about_cuts(grid, {1, 1}), "");
}

TEST(Cut, ComplaintsNameWrongDeclarations) {
  auto wrong = find("2bw");
  wrong.begun_at = [](std::int64_t version, PipelineShape) { return version + 1; };
  EXPECT_EQ(complaint_about_cuts(wrong, {2, 2}),
            "stage 0 has asked for 3 batches when it makes W(1), but the schedule declares that "
            "stage 0 has asked for 2 and no stage for more");
}

TEST(Cut, ComplaintsOfActionsThatDoNotRepeat) {
  auto wrong = find("1f1b");
  wrong.generate = [inner = wrong.generate](int stage, PipelineShape shape, HasBatch has_batch) {
    return inner(stage, {shape.stages, 1}, std::move(has_batch));
  };
  EXPECT_EQ(complaint_about_cuts(wrong, {2, 4}), "");
  struct Growing {
    static ActionStream actions(HasBatch has_batch) {
      for (std::int64_t batch = 0; has_batch(batch); ++batch) {
        for (std::int64_t j = 0; j <= batch; ++j) {
          const Action work{forward, batch, j, batch, 0};
          co_yield work;
        }
        const Action end{update, batch, 0, batch + 1, 0};
        co_yield end;
      }
    }
  };
  wrong.generate = [](int, PipelineShape, HasBatch has_batch) {
    return Growing::actions(std::move(has_batch));
  };
  EXPECT_EQ(complaint_about_cuts(wrong, {1, 4}), "the actions between 80 updates do not repeat");
}

// ---- what asking for more batches than a stage is about to start can block

/// Streams with captures for the validator's execution, which does not know them: the questions
/// stay, and with them the waits for stage 0's decision.
std::vector<ActionSource> sources_with_captures(
    const Schedule& schedule, PipelineShape shape, Run run,
    const std::function<std::int64_t(int stage, std::int64_t version)>& begun) {
  struct Questions {
    std::int64_t asked = -1;
    std::int64_t out_of_turn = -1;
  };
  std::vector<ActionSource> sources;
  for (int s = 0; s < shape.stages; ++s) {
    const auto questions = std::make_shared<Questions>();
    const HasBatch has_batch = [questions, batches = run.batches](std::int64_t batch) {
      const std::int64_t last_known = std::min(questions->asked, batches - 1);
      if (batch > last_known + 1 && questions->out_of_turn < 0) questions->out_of_turn = batch;
      questions->asked = std::max(questions->asked, batch);
      return batch < batches;
    };
    auto stream =
        with_evaluation(schedule.generate(s, shape, has_batch), run.evaluation, shape, has_batch);
    const CapturePlan plan{always, [begun, s](std::int64_t version) { return begun(s, version); }};
    const auto lowered = std::make_shared<ActionStream>(with_transfers(
        with_capture(std::move(stream), plan, has_batch), s, shape, schedule.placement));
    const auto next = [lowered, questions] {
      auto action = lowered->next();
      while (action && action->kind == capture) action = lowered->next();
      return action;
    };
    sources.push_back({next, &questions->asked, &questions->out_of_turn});
  }
  return sources;
}

TEST(Cut, ItsQuestionsNeverBlockForEverNorComeOutOfTurn) {
  const CheckShape check = [](const Schedule& schedule, PipelineShape shape) {
    const auto declared = [&](int, std::int64_t version) {
      return schedule.begun_at(version, shape);
    };
    for (std::int64_t batches = 1; batches <= 8; ++batches) {
      for (const std::int64_t evaluations : {0, shape.stages + 1}) {
        const WholeRun run{batches, {.every = 1, .micro_batches = evaluations}};
        const auto result =
            execute(schedule, shape, run, sources_with_captures(schedule, shape, run, declared),
                    std::nullopt);
        EXPECT_FALSE(result.failure)
            << result.failure->broken.rule << ": " << result.failure->broken.detail << ", "
            << batches << " batches, " << evaluations << " evaluations";
      }
    }
  };
  for_each_shape(6, 8, check);
  for_each_composed(5, check);
}

TEST(Cut, AQuestionForABatchThatStage0BeginsBehindTheCutBlocks) {
  const PipelineShape shape{3, 4};
  const auto& schedule = find("2bw");
  const auto too_far = [](int stage, std::int64_t version) {
    return stage == 0 ? version + 2 : version + 3;
  };
  const WholeRun run{8, {}};
  const auto result = execute(schedule, shape, run,
                              sources_with_captures(schedule, shape, run, too_far), std::nullopt);
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->broken.rule, "progress");
}

TEST(Cut, Stage0AsksForNothingThatItHasNotAskedForItself) {
  const CheckShape check = [](const Schedule& schedule, PipelineShape shape) {
    for (std::int64_t batches = 1; batches <= 7; ++batches) {
      std::int64_t asked = 0;  // by the generator
      const HasBatch has_batch = [batches](std::int64_t batch) { return batch < batches; };
      auto stream = schedule.generate(0, shape, [&](std::int64_t batch) {
        asked = std::max(asked, batch + 1);
        return has_batch(batch);
      });
      const CapturePlan plan{
          always, [&](std::int64_t version) { return schedule.begun_at(version, shape); }};
      drain(with_capture(std::move(stream), plan, [&](std::int64_t batch) {
        EXPECT_LT(batch, asked);
        return has_batch(batch);
      }));
    }
  };
  for_each_shape(6, 8, check);
  for_each_composed(5, check);
}

// ---- beginning again

TEST(Cut, AResumedStreamIsTheRestOfTheUninterruptedOne) {
  const CheckShape check = [](const Schedule& schedule, PipelineShape shape) {
    constexpr std::int64_t batches = 8;
    const EvaluationPlan evaluation{.every = 2, .micro_batches = shape.stages + 1};
    for (int s = 0; s < shape.stages; ++s) {
      const auto whole = drain(stage_stream(schedule, s, shape, plan_of(batches, evaluation)));
      for (std::size_t i = 0; i < whole.size(); ++i) {
        if (whole[i].kind != capture) continue;
        const std::int64_t cut = whole[i].version;
        auto plan = plan_of(batches, evaluation, cut);
        std::int64_t lowest = batches;
        plan.has_batch = [&](std::int64_t batch) {
          lowest = std::min(lowest, batch);
          return batch < batches;
        };
        const auto rest = drain(stage_stream(schedule, s, shape, plan));
        const auto from = whole.begin() + static_cast<std::ptrdiff_t>(i) + 1;
        EXPECT_EQ(rest, std::vector<Action>(from, whole.end())) << "stage " << s << ", cut " << cut;
        EXPECT_GE(lowest, std::min(schedule.begun_at(cut, shape), batches)) << "asked too early";
      }
    }
  };
  for_each_shape(5, 6, check);
  for_each_composed(4, check);
}

TEST(Cut, AResumedStreamMustHaveTheCut) {
  auto stream = resumed(find("1f1b").generate(0, {1, 1}, first_batches(3)), 4);
  EXPECT_THROW(stream.next(), std::logic_error);
}

}  // namespace
}  // namespace penstock::schedule
