#include "train/batch_events.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace penstock::train {
namespace {

/// "3" for a batch, "3-" where its second stage is missing, "e3" for the evaluation of W(3).
std::string name(const EventOrder::Entry& entry) {
  if (const auto* evaluation = std::get_if<engine::EvaluationEvent>(&entry)) {
    return "e" + std::to_string(evaluation->version);
  }
  const auto& batch = std::get<BatchEvents>(entry);
  std::string text = std::to_string(batch.update->batch);
  for (const auto& stage : batch.stages) {
    if (!stage) text += "-";
    if (stage && stage->batch != batch.update->batch) text += "!";
  }
  return text;
}

class EventOrderTest : public testing::Test {
 protected:
  void update(std::int64_t batch) { order_.add(engine::UpdateEvent{.batch = batch, .at = {}}); }
  void stage(int stage, std::int64_t batch) {
    engine::StageEvent event;
    event.stage = stage;
    event.batch = batch;
    order_.add(std::move(event));
  }
  void evaluation(std::int64_t version) {
    order_.add(engine::EvaluationEvent{.version = version, .begin = {}, .at = {}});
  }

  std::vector<std::string> take() {
    std::vector<std::string> names;
    while (const auto entry = order_.take()) names.push_back(name(*entry));
    return names;
  }
  std::vector<std::string> take_incomplete() {
    std::vector<std::string> names;
    while (const auto entry = order_.take_incomplete()) names.push_back(name(*entry));
    return names;
  }

  using Names = std::vector<std::string>;
  EventOrder order_{2, 0};
};

TEST_F(EventOrderTest, ABatchLeavesWhenAllHaveToldOfIt) {
  update(0);
  EXPECT_EQ(take(), Names{});
  stage(1, 0);
  EXPECT_EQ(take(), Names{});
  stage(0, 0);
  EXPECT_EQ(take(), Names{"0"});
  stage(0, 1);
  stage(1, 1);
  EXPECT_EQ(take(), Names{});
  update(1);
  EXPECT_EQ(take(), Names{"1"});
}

TEST_F(EventOrderTest, BatchesLeaveInOrder) {
  stage(0, 0);
  stage(0, 1);
  stage(0, 2);
  update(0);
  update(1);
  stage(1, 0);
  EXPECT_EQ(take(), Names{"0"});
  stage(1, 1);
  stage(1, 2);
  EXPECT_EQ(take(), Names{"1"});
  update(2);
  EXPECT_EQ(take(), Names{"2"});
}

TEST_F(EventOrderTest, AnEvaluationComesBehindTheUpdateThatMadeItsWeights) {
  evaluation(0);
  EXPECT_EQ(take(), Names{"e0"});
  update(0);
  evaluation(1);
  update(1);
  stage(0, 0);
  stage(0, 1);
  EXPECT_EQ(take(), Names{});
  stage(1, 0);
  stage(1, 1);
  EXPECT_EQ(take(), (Names{"0", "e1", "1"}));
}

TEST_F(EventOrderTest, AStageThatToldOfALaterBatchDoesNotHoldUp) {
  update(0);
  stage(0, 0);
  stage(1, 1);
  EXPECT_EQ(take(), Names{"0-"});
}

TEST_F(EventOrderTest, GoesOnAtABatch) {
  order_ = EventOrder(2, 5);
  evaluation(5);
  stage(0, 4);  // has been reported before
  stage(0, 5);
  stage(1, 5);
  update(5);
  EXPECT_EQ(take(), (Names{"e5", "5"}));
  EXPECT_EQ(order_.waiting(), 0U);
}

TEST_F(EventOrderTest, WhatIsIncompleteAtTheEnd) {
  update(0);
  stage(0, 0);
  evaluation(1);
  update(1);
  stage(0, 1);
  stage(0, 2);  // nothing is known of its update
  EXPECT_EQ(take(), Names{});
  EXPECT_EQ(take_incomplete(), (Names{"0-", "e1", "1-"}));
}

TEST_F(EventOrderTest, AnyInterleavingGivesTheSame) {
  // The streams of the reporting stage and of both stages, merged at random.
  constexpr int batches = 40;
  Names expected;
  for (int b = 0; b < batches; ++b) {
    expected.push_back(std::to_string(b));
    if (b % 3 == 0) expected.push_back("e" + std::to_string(b + 1));
  }
  std::mt19937 random(7);
  for (int trial = 0; trial < 100; ++trial) {
    order_ = EventOrder(2, 0);
    int told[3] = {0, 0, 0};
    Names seen;
    while (std::min({told[0], told[1], told[2]}) < batches) {
      const int which = static_cast<int>(random() % 3);
      const int batch = told[which];
      if (batch == batches) continue;
      ++told[which];
      if (which < 2) {
        stage(which, batch);
      } else {
        update(batch);
        if (batch % 3 == 0) evaluation(batch + 1);
      }
      for (const auto& entry : take()) seen.push_back(entry);
    }
    EXPECT_EQ(seen, expected) << trial;
    EXPECT_EQ(order_.waiting(), 0U);
  }
}

}  // namespace
}  // namespace penstock::train
