#include "train/event_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>
#include <variant>
#include <vector>

namespace penstock::train {
namespace {

using namespace std::chrono_literals;

engine::UpdateEvent update(std::int64_t batch) {
  engine::UpdateEvent event;
  event.batch = batch;
  return event;
}

std::int64_t batch_of(const std::optional<engine::Event>& event) {
  return std::get<engine::UpdateEvent>(event.value()).batch;
}

TEST(EventQueue, GivesEventsInOrderAndWholly) {
  EventQueue queue;
  queue.push(update(0));
  queue.push(
      engine::EvaluationEvent{.version = 7, .loss = 2.5, .tokens = 64, .begin = {}, .at = {}});
  queue.push(update(1));
  EXPECT_EQ(batch_of(queue.pop()), 0);
  const auto evaluation = std::get<engine::EvaluationEvent>(queue.pop().value());
  EXPECT_EQ(evaluation.version, 7);
  EXPECT_EQ(evaluation.loss, 2.5);
  EXPECT_EQ(evaluation.tokens, 64);
  EXPECT_EQ(batch_of(queue.pop()), 1);
}

TEST(EventQueue, WhatIsLeftComesAfterTheEnd) {
  EventQueue queue;
  queue.push(update(0));
  queue.push(update(1));
  queue.end();
  EXPECT_EQ(batch_of(queue.pop()), 0);
  EXPECT_EQ(batch_of(queue.pop()), 1);
  EXPECT_FALSE(queue.pop());
  EXPECT_FALSE(queue.pop());
}

TEST(EventQueue, PopWaitsForAnEvent) {
  EventQueue queue;
  auto popped = std::async(std::launch::async, [&] { return queue.pop(); });
  EXPECT_EQ(popped.wait_for(50ms), std::future_status::timeout);
  queue.push(update(3));
  ASSERT_EQ(popped.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(batch_of(popped.get()), 3);
}

TEST(EventQueue, TheEndWakesAWaitingReader) {
  EventQueue queue;
  auto popped = std::async(std::launch::async, [&] { return queue.pop(); });
  EXPECT_EQ(popped.wait_for(50ms), std::future_status::timeout);
  queue.end();
  ASSERT_EQ(popped.wait_for(10s), std::future_status::ready);
  EXPECT_FALSE(popped.get());
}

TEST(EventQueue, NothingIsLostBetweenThreads) {
  constexpr std::int64_t events = 20000;
  EventQueue queue;
  std::jthread writer([&] {
    for (std::int64_t i = 0; i < events; ++i) queue.push(update(i));
    queue.end();
  });
  std::int64_t next = 0;
  while (const auto event = queue.pop()) ASSERT_EQ(batch_of(event), next++);
  EXPECT_EQ(next, events);
}

}  // namespace
}  // namespace penstock::train
