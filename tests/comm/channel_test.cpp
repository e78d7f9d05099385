#include "comm/channel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace penstock::comm {
namespace {

TEST(Channel, KeepsTheOrder) {
  Channel<int> channel(3);
  std::jthread sender([&] {
    for (int i = 0; i < 10000; ++i) channel.send(i);
  });
  for (int i = 0; i < 10000; ++i) ASSERT_EQ(channel.receive(), i);
}

TEST(Channel, NeverHoldsMoreThanItsCapacity) {
  Channel<int> channel(2);
  std::atomic<int> sent = 0;
  std::jthread sender([&] {
    for (int i = 0; i < 1000; ++i) {
      channel.send(i);
      ++sent;
    }
  });
  for (int received = 1; received <= 1000; ++received) {
    channel.receive();
    ASSERT_LE(sent.load(), received + 2);
  }
}

TEST(Channel, CloseWakesAWaitingReceiver) {
  Channel<int> channel(1);
  std::jthread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // by now the other side waits
    channel.close();
  });
  EXPECT_THROW(channel.receive(), Closed);
}

TEST(Channel, CloseWakesAWaitingSender) {
  Channel<int> channel(1);
  channel.send(0);
  std::jthread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // by now the other side waits
    channel.close();
  });
  EXPECT_THROW(channel.send(1), Closed);
}

TEST(Channel, PreloadedMessagesComeFirstAndIgnoreTheCapacity) {
  Channel<int> channel(1);
  for (const int message : {1, 2, 3}) channel.preload(message);
  EXPECT_EQ(channel.waiting(), 3U);
  std::jthread sender([&] { channel.send(4); });
  for (const int expected : {1, 2, 3, 4}) EXPECT_EQ(channel.receive(), expected);
}

}  // namespace
}  // namespace penstock::comm
