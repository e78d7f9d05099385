#include "comm/batch_gate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "comm/closed.h"

namespace penstock::comm {
namespace {

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
