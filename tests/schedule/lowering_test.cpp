#include "schedule/lowering.h"

#include <gtest/gtest.h>

#include <string>

#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::drain;
using tests::first_batches;

std::string names(const std::vector<Action>& actions) {
  std::string text;
  for (const auto& action : actions) text += std::string(name(action.kind)) + ' ';
  return text;
}

std::vector<Action> lowered(int stage, int stages, std::int64_t batches, EvaluationPlan plan) {
  const auto has_batch = first_batches(batches);
  auto stream = find("1f1b").generate(stage, {stages, stages}, has_batch);
  return drain(with_transfers(with_evaluation(std::move(stream), plan, has_batch), stage, stages));
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

}  // namespace
}  // namespace penstock::schedule
