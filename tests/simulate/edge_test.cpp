#include "simulate/edge.h"

#include <gtest/gtest.h>

namespace penstock::simulate {
namespace {

TEST(Edge, HoldsItsCapacityInOrder) {
  Edge edge;
  EXPECT_FALSE(edge.has_message());
  for (int i = 0; i < schedule::edge_capacity; ++i) {
    ASSERT_TRUE(edge.has_room());
    EXPECT_EQ(edge.room_since(), 0);
    edge.send({.number = i, .made = 10.0 + i, .arrives = 20.0 + i});
  }
  EXPECT_FALSE(edge.has_room());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(edge.has_message());
    EXPECT_EQ(edge.front().number, i);
    EXPECT_EQ(edge.front().made, 10.0 + i);
    EXPECT_EQ(edge.front().arrives, 20.0 + i);
    edge.receive(30.0 + i);
    ASSERT_TRUE(edge.has_room());
    EXPECT_EQ(edge.room_since(), 30.0 + i);
    const int next = i + schedule::edge_capacity;
    edge.send({.number = next, .made = 10.0 + next, .arrives = 20.0 + next});
    EXPECT_FALSE(edge.has_room());
  }
}

}  // namespace
}  // namespace penstock::simulate
