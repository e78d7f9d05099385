#include "ranks/codec.h"

#include <gmock/gmock.h>

#include <limits>

namespace penstock::ranks {
namespace {

using std::chrono::nanoseconds;
using Time = std::chrono::steady_clock::time_point;

constexpr Ahead here{0};
const schedule::Action some_action{schedule::ActionKind::backward, 7, 3, 6, 1};

/// As it arrives on a rank whose clock is like the sender's.
template <class Event>
Event travelled(const Event& event) {
  return std::get<Event>(decode_event(encode(engine::Event(event), here), here));
}

TEST(Codec, KeepsMessages) {
  const engine::Message<at::Tensor> message{some_action, 5, Time(nanoseconds(123)),
                                            at::arange(6).reshape({2, 3})};
  const auto copy = decode_message(encode(message, here), here);
  EXPECT_EQ(copy.origin, some_action);
  EXPECT_EQ(copy.sender_version, 5);
  EXPECT_EQ(copy.sent, message.sent);
  EXPECT_TRUE(at::equal(copy.payload, message.payload));
}

TEST(Codec, TranslatesMomentsBetweenClocks) {
  engine::Message<at::Tensor> message;
  message.sent = Time(nanoseconds(1000));
  // The sender's clock is 300 ahead of rank 0's, the receiver's 20 behind it.
  const auto copy = decode_message(encode(message, Ahead(300)), Ahead(-20));
  EXPECT_EQ(copy.sent, Time(nanoseconds(680)));
}

TEST(Codec, KeepsUpdates) {
  const auto copy = travelled(engine::UpdateEvent{.batch = 4,
                                                  .loss = std::numeric_limits<double>::infinity(),
                                                  .gradient_norm = 0.1,
                                                  .clip_factor = 0.5,
                                                  .lr = 1e-3,
                                                  .skipped = true,
                                                  .at = Time(nanoseconds(9))});
  EXPECT_EQ(copy.batch, 4);
  EXPECT_EQ(copy.loss, std::numeric_limits<double>::infinity());
  EXPECT_EQ(copy.gradient_norm, 0.1);
  EXPECT_EQ(copy.clip_factor, 0.5);
  EXPECT_EQ(copy.lr, 1e-3);
  EXPECT_TRUE(copy.skipped);
  EXPECT_EQ(copy.at, Time(nanoseconds(9)));
}

TEST(Codec, KeepsWhatStagesSee) {
  const engine::StageEvent event{.stage = 2,
                                 .batch = 8,
                                 .gradient_norm = 1.5,
                                 .least_delay = 1,
                                 .most_delay = 3,
                                 .usage = {.work = 1,
                                           .evaluation = 2,
                                           .wait_activation = 3,
                                           .wait_gradient = 4,
                                           .wait_update = 5,
                                           .transfer = 6,
                                           .blocked = 7,
                                           .idle = 8},
                                 .waited_for_core = 9,
                                 .groups = {{"gains", {1, 2, 3, 4}}, {"head", {5, 6, 7, 8}}}};
  const auto copy = travelled(event);
  EXPECT_EQ(copy.stage, 2);
  EXPECT_EQ(copy.batch, 8);
  EXPECT_EQ(copy.gradient_norm, 1.5);
  EXPECT_EQ(copy.least_delay, 1);
  EXPECT_EQ(copy.most_delay, 3);
  EXPECT_EQ(copy.usage.seconds(), 36);
  EXPECT_EQ(copy.usage.transfer, 6);
  EXPECT_EQ(copy.waited_for_core, 9);
  ASSERT_EQ(copy.groups.size(), 2u);
  EXPECT_EQ(copy.groups.at("head").update_change, 6);
  EXPECT_EQ(copy.groups.at("gains").weight, 4);
}

TEST(Codec, KeepsEvaluations) {
  const auto copy = travelled(engine::EvaluationEvent{.version = 10,
                                                      .loss = 2.5,
                                                      .tokens = 640,
                                                      .begin = Time(nanoseconds(1)),
                                                      .at = Time(nanoseconds(2))});
  EXPECT_EQ(copy.version, 10);
  EXPECT_EQ(copy.loss, 2.5);
  EXPECT_EQ(copy.tokens, 640);
  EXPECT_EQ(copy.begin, Time(nanoseconds(1)));
  EXPECT_EQ(copy.at, Time(nanoseconds(2)));
}

TEST(Codec, KeepsSpans) {
  const auto copy =
      travelled(engine::SpansEvent{3, {{some_action, 0.5, 0.75, 0.25}, {{}, 1, 2, 0}}});
  EXPECT_EQ(copy.stage, 3);
  ASSERT_EQ(copy.spans.size(), 2u);
  EXPECT_EQ(copy.spans[0].action, some_action);
  EXPECT_EQ(copy.spans[0].begin, 0.5);
  EXPECT_EQ(copy.spans[0].end, 0.75);
  EXPECT_EQ(copy.spans[0].transfer, 0.25);
}

TEST(Codec, KeepsProfiles) {
  const engine::StageProfile profile{
      .stage = 3,
      .updates = 20,
      .seconds = 1.5,
      .operations = {{"mlp", "product dX", 80, 0.25, {1e9, 2e6}}, {"update", "adamw", 7, 0.5, {}}},
      .usage = {.work = 1, .wait_gradient = 0.125},
      .waited_for_core = 0.0625};
  const auto copy = travelled(engine::ProfileEvent{profile}).profile;
  EXPECT_EQ(copy.stage, 3);
  EXPECT_EQ(copy.updates, 20);
  EXPECT_EQ(copy.seconds, 1.5);
  ASSERT_EQ(copy.operations.size(), 2u);
  EXPECT_EQ(copy.operations[0].part, "mlp");
  EXPECT_EQ(copy.operations[0].name, "product dX");
  EXPECT_EQ(copy.operations[0].calls, 80);
  EXPECT_EQ(copy.operations[0].seconds, 0.25);
  EXPECT_EQ(copy.operations[0].work.flops, 1e9);
  EXPECT_EQ(copy.operations[0].work.bytes, 2e6);
  EXPECT_EQ(copy.operations[1].name, "adamw");
  EXPECT_EQ(copy.usage.work, 1);
  EXPECT_EQ(copy.usage.wait_gradient, 0.125);
  EXPECT_EQ(copy.waited_for_core, 0.0625);
}

TEST(Codec, KeepsCaptures) {
  engine::CaptureEvent event;
  event.state.stage = 1;
  event.state.cut = 12;
  event.state.tensors["weights"] = at::arange(4);
  event.state.tensors["empty"] = at::zeros({0});
  const auto copy = travelled(event);
  EXPECT_EQ(copy.state.stage, 1);
  EXPECT_EQ(copy.state.cut, 12);
  ASSERT_EQ(copy.state.tensors.size(), 2u);
  EXPECT_TRUE(at::equal(copy.state.tensors.at("weights"), at::arange(4)));
}

TEST(Codec, KeepsDecisions) {
  const auto copy = decode_decision(encode(comm::BatchGate::Decision{3, 9, 4}));
  EXPECT_EQ(copy.decided, 3);
  EXPECT_EQ(copy.end, 9);
  EXPECT_EQ(copy.stop_cut, 4);
}

TEST(Codec, RefusesWhatIsNoEvent) {
  Frame frame{ByteWriter().put(std::size_t{99}).take(), {}};
  EXPECT_THROW(decode_event(frame, here), std::runtime_error);
  EXPECT_THROW(decode_event(Frame{}, here), std::runtime_error);
  Frame capture = encode(engine::Event(engine::CaptureEvent{{0, 0, {{"a", at::ones({1})}}}}), here);
  capture.tensors.clear();
  EXPECT_THROW(decode_event(capture, here), std::runtime_error);
}

}  // namespace
}  // namespace penstock::ranks
