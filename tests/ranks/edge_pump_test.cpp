#include "ranks/edge_pump.h"

#include <gmock/gmock.h>

#include <atomic>

#include "comm/closed.h"
#include "ranks/in_one_process.h"

namespace penstock::ranks {
namespace {

using namespace std::chrono_literals;
using tests::run_ranks_well;

constexpr int tag = 30;

engine::Message<at::Tensor> message(std::int64_t number) {
  return {.origin = {schedule::ActionKind::forward, number, 1, 2, 3},
          .sender_version = number + 1,
          .sent = std::chrono::steady_clock::now(),
          .payload = at::full({5}, number)};
}

TEST(EdgePump, BringsEveryMessageInOrder) {
  run_ranks_well(2, [](Group& group) {
    Edge edge(2);
    if (group.rank() == 0) {
      std::jthread pump([&] { push_messages(group, 1, tag, edge); });
      for (int i = 0; i < 50; ++i) edge.send(message(i));
      edge.send(end_of_edge());
      return;
    }
    std::jthread pump([&] { pull_messages(group, 0, tag, edge); });
    for (int i = 0; i < 50; ++i) {
      const auto got = edge.receive();
      EXPECT_EQ(got.origin, message(i).origin);
      EXPECT_EQ(got.sender_version, i + 1);
      EXPECT_LE(got.sent, std::chrono::steady_clock::now());
      EXPECT_TRUE(at::equal(got.payload, message(i).payload));
    }
    pump.join();
    EXPECT_EQ(edge.waiting(), 0u);  // the end of the edge is no message
  });
}

TEST(EdgePump, HoldsASenderUpWhenNobodyReceives) {
  static constexpr int capacity = 2, under_way = 2 * capacity + 2;
  run_ranks_well(2, [](Group& group) {
    Edge edge(capacity);
    if (group.rank() == 0) {
      std::jthread pump([&] { push_messages(group, 1, tag, edge); });
      std::atomic<int> sent = 0;
      std::jthread stage([&] {
        for (int i = 0; i < under_way + 3; ++i, ++sent) edge.send(message(i));
      });
      while (sent < under_way) std::this_thread::sleep_for(1ms);
      std::this_thread::sleep_for(100ms);
      EXPECT_EQ(sent, under_way);
      group.send(1, tag + 1, {});  // now the other rank receives
      stage.join();
      edge.send(end_of_edge());
      return;
    }
    std::jthread pump([&] { pull_messages(group, 0, tag, edge); });
    group.receive(0, tag + 1);
    for (int i = 0; i < under_way + 3; ++i) edge.receive();
  });
}

TEST(EdgePump, EndsWhenItsChannelOrTheGroupEnds) {
  run_ranks_well(2, [](Group& group) {
    Edge closed(2), full(1), empty(1);
    std::jthread pushing([&] { push_messages(group, 1 - group.rank(), tag, closed); });
    closed.close();
    pushing.join();
    std::jthread blocked([&] { push_messages(group, 1 - group.rank(), tag + 1, full); });
    std::jthread waiting([&] { pull_messages(group, 1 - group.rank(), tag + 2, empty); });
    full.send(message(1));  // in the pump's hands: nobody takes it
    if (group.rank() == 0) group.fail({.rank = 0, .message = "[test] enough"});
  });
}

}  // namespace
}  // namespace penstock::ranks
