#include "schedule/lowering.h"

#include <gtest/gtest.h>

#include <string>

#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

std::string names(const std::vector<Action>& actions) {
  std::string text;
  for (const auto& action : actions) text += std::string(name(action.kind)) + ' ';
  return text;
}

std::vector<Action> lowered(int stage, int stages, std::int64_t batches, EvaluationPlan plan) {
  return tests::lower(find("1f1b"), {stages, stages}, batches, plan)
      .at(static_cast<std::size_t>(stage));
}

TEST(Lowering, ASingleStageTalksToNobody) {
  EXPECT_EQ(names(lowered(0, 1, 1, {})), "forward backward contribute await_reduction update ");
}

TEST(Lowering, NeighboursSendWhatTheOtherReceives) {
  EXPECT_EQ(names(lowered(0, 2, 1, {})),
            "forward send_activation forward send_activation receive_gradient backward "
            "receive_gradient backward contribute await_reduction update ");
  EXPECT_EQ(names(lowered(1, 2, 1, {})),
            "receive_activation forward backward send_gradient receive_activation forward "
            "backward send_gradient contribute await_reduction update ");
}

std::vector<std::int64_t> evaluated_versions(std::int64_t batches, EvaluationPlan plan) {
  std::vector<std::int64_t> versions;
  for (const auto& action : lowered(0, 1, batches, plan)) {
    if (action.kind == ActionKind::evaluate) versions.push_back(action.version);
  }
  return versions;
}

TEST(Lowering, EvaluatesAtIntervalsAndOnceAtTheEnd) {
  using Versions = std::vector<std::int64_t>;
  EXPECT_EQ(evaluated_versions(5, {.every = 2, .micro_batches = 1}), (Versions{2, 4, 5}));
  EXPECT_EQ(evaluated_versions(4, {.every = 2, .micro_batches = 1}), (Versions{2, 4}));
  EXPECT_EQ(evaluated_versions(3, {.every = 0, .micro_batches = 2}), (Versions{3, 3}));
  EXPECT_EQ(evaluated_versions(3, {.every = 1, .micro_batches = 0}), Versions{});
}

TEST(Lowering, EvaluatesInGroupsOfStagesThroughTheChunks) {
  std::string text;
  const auto stages = tests::lower(find("interleaved"), {2, 2, 2}, 1, {1, 3});
  for (const auto& action : stages[0]) {
    if (action.kind != ActionKind::evaluate) continue;
    text += std::to_string(action.micro_batch) + std::string(action.chunk == 1, '\'') + ' ';
  }
  EXPECT_EQ(text, "0 1 0' 1' 2 2' ");
}

TEST(Lowering, OnlyTheEndsOfTheModelHaveNoNeighbour) {
  // The last stage holds pieces 1 and 2 of 4: it sends activations to itself.
  EXPECT_EQ(names(tests::lower(find("zb-v"), {2, 1, 2}, 1)[1]),
            "receive_activation forward send_activation receive_activation forward "
            "send_activation receive_gradient backward_input send_gradient backward_weight "
            "receive_gradient backward_input send_gradient backward_weight contribute "
            "await_reduction update ");
  // The first stage holds pieces 0 and 3.
  EXPECT_EQ(names(tests::lower(find("zb-v"), {2, 1, 2}, 1)[0]),
            "forward send_activation receive_activation forward backward_input send_gradient "
            "backward_weight receive_gradient backward_input backward_weight contribute "
            "await_reduction update ");
}

TEST(Lowering, TransfersCarryWhatTheyAreFor) {
  for (const auto& schedule : registry()) {
    for (const auto& actions : tests::lower(schedule, {3, 3, schedule.default_chunks}, 4)) {
      for (std::size_t i = 0; i + 1 < actions.size(); ++i) {
        const bool pair = actions[i].kind == ActionKind::receive_activation ||
                          actions[i].kind == ActionKind::receive_gradient ||
                          actions[i + 1].kind == ActionKind::send_activation ||
                          actions[i + 1].kind == ActionKind::send_gradient;
        if (!pair) continue;
        Action same = actions[i + 1];
        same.kind = actions[i].kind;
        EXPECT_EQ(same, actions[i]) << schedule.name;
      }
    }
  }
}

}  // namespace
}  // namespace penstock::schedule
