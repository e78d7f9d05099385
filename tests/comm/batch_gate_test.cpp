#include "comm/batch_gate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "comm/closed.h"

namespace penstock::comm {
namespace {

std::int64_t two_more(std::int64_t cut) { return cut + 2; }

TEST(BatchGate, EndsAfterTheLastBatch) {
  BatchGate gate(2);
  EXPECT_TRUE(gate.decide(0));
  EXPECT_TRUE(gate.decide(1));
  EXPECT_FALSE(gate.decide(2));
}

TEST(BatchGate, AStopTakesEffectAtTheNextUndecidedBatch) {
  BatchGate gate(10);
  EXPECT_TRUE(gate.decide(0));
  gate.request_stop();
  EXPECT_TRUE(gate.decide(0)) << "already decided";
  EXPECT_FALSE(gate.decide(1));
  EXPECT_FALSE(gate.decide(2));
}

TEST(BatchGate, FollowersAgreeWithTheLeader) {
  BatchGate gate(1000);
  std::int64_t followed = 0;
  std::jthread follower([&] {
    while (gate.wait(followed)) ++followed;
  });
  std::int64_t led = 0;
  while (gate.decide(led)) {
    if (++led == 500) gate.request_stop();
  }
  follower.join();
  EXPECT_EQ(led, 500);
  EXPECT_EQ(followed, led);
}

TEST(BatchGate, AStopLeavesRoomForACut) {
  BatchGate gate({.batches = 100, .begun_at = two_more});
  EXPECT_TRUE(gate.decide(4));
  gate.request_stop();
  EXPECT_FALSE(gate.is_stop_cut(6));
  EXPECT_TRUE(gate.decide(5));
  // W(6) is made from batch 5; batch 7 is the one behind batch 6.
  EXPECT_TRUE(gate.is_stop_cut(6));
  EXPECT_TRUE(gate.decide(6));
  EXPECT_TRUE(gate.decide(7));
  EXPECT_FALSE(gate.decide(8));
  EXPECT_TRUE(gate.is_stop_cut(6));
  EXPECT_FALSE(gate.is_stop_cut(7));
}

TEST(BatchGate, AnEndIsAtTheNextUndecidedBatchWhateverTheCut) {
  BatchGate gate({.batches = 100, .begun_at = two_more});
  EXPECT_TRUE(gate.decide(4));
  gate.request_end();
  EXPECT_FALSE(gate.decide(5));
  BatchGate stopped({.batches = 100, .begun_at = two_more});
  stopped.request_stop();
  EXPECT_TRUE(stopped.decide(5));
  stopped.request_end();
  EXPECT_FALSE(stopped.decide(6));
}

TEST(BatchGate, AStopRightBeforeTheEndOnlyEndsTheRun) {
  BatchGate gate({.batches = 8, .begun_at = two_more});
  EXPECT_TRUE(gate.decide(4));
  gate.request_stop();
  EXPECT_TRUE(gate.decide(5));
  EXPECT_TRUE(gate.decide(7));
  EXPECT_FALSE(gate.decide(8));
  EXPECT_FALSE(gate.is_stop_cut(6));
}

TEST(BatchGate, AGateInAnotherProcessFollows) {
  BatchGate leader(
      {.batches = 10, .first = 3, .begun_at = [](std::int64_t cut) { return cut + 1; }});
  BatchGate follower({.batches = 10, .first = 3});
  leader.on_decision([&](const BatchGate::Decision& decision) { follower.follow(decision); });
  EXPECT_TRUE(leader.decide(3));
  EXPECT_TRUE(follower.wait(3));
  leader.request_stop();
  leader.decide(4);
  leader.decide(5);
  EXPECT_TRUE(follower.wait(4));
  EXPECT_TRUE(follower.wait(5));
  leader.decide(6);
  EXPECT_FALSE(follower.wait(6));
  EXPECT_TRUE(follower.is_stop_cut(5));
}

TEST(BatchGate, CloseWakesAFollower) {
  BatchGate gate(1);
  std::jthread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // by now the other side waits
    gate.close();
  });
  EXPECT_THROW(gate.wait(0), Closed);
}

}  // namespace
}  // namespace penstock::comm
