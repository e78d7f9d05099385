#pragma once
// Runs the actions of one stage, in order, knowing nothing of what they mean.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/channel.h"
#include "comm/closed.h"
#include "engine/span_recorder.h"
#include "engine/stage.h"
#include "engine/stage_clock.h"
#include "schedule/action_stream.h"

namespace penstock::engine {

/// A payload and the action that made it, so that a receiver can tell that it got the right one.
template <class Payload>
struct Message {
  schedule::Action origin;
  std::chrono::steady_clock::time_point sent;
  Payload payload;
};

/// The channels of one piece of the model; null at its ends.
template <class Payload>
struct Links {
  using Edge = comm::Channel<Message<Payload>>;
  Edge* activations_in = nullptr;
  Edge* activations_out = nullptr;
  Edge* gradients_in = nullptr;
  Edge* gradients_out = nullptr;
  Edge* evaluations_in = nullptr;
  Edge* evaluations_out = nullptr;
};

/// A failure inside one stage: names the stage and the action, and nests the cause.
struct StageFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What surrounds a stage.
template <class Payload>
struct ExecutorSetup {
  int number = 0;
  std::vector<Links<Payload>> links;  // of its chunks
  /// Whether neighbours read the same weight version for the same micro-batch.
  bool same_versions = true;
  StageClock* clock = nullptr;
  SpanRecorder* recorder = nullptr;  // null: nothing is recorded
};

template <class Payload>
class Executor {
 public:
  Executor(Stage<Payload>& stage, ExecutorSetup<Payload> setup)
      : stage_(stage), setup_(std::move(setup)) {}

  /// Runs until the stream ends. Errors: comm::Closed when a neighbour stopped, otherwise
  /// StageFailure with the original exception nested.
  void run(schedule::ActionStream& actions) {
    guarded("start", [&] { stage_.start(); });
    while (const auto action = actions.next()) {
      const auto begin = Clock::now();
      made_ = Clock::time_point::max();
      guarded(*action, [&] { perform(*action); });
      const auto end = Clock::now();
      setup_.clock->add(action->kind, end - begin);
      if (setup_.recorder) setup_.recorder->add(*action, begin, end, std::min(made_, end));
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Edge = typename Links<Payload>::Edge;

  void perform(const schedule::Action& action) {
    using enum schedule::ActionKind;
    const auto& links = setup_.links.at(static_cast<std::size_t>(action.chunk));
    switch (action.kind) {
      case receive_activation:
        in_ = receive(*links.activations_in, action);
        break;
      case receive_gradient:
        in_ = receive(*links.gradients_in, action);
        break;
      case receive_evaluation:
        in_ = receive(*links.evaluations_in, action);
        break;
      case forward:
        out_ = stage_.forward(action, std::exchange(in_, {}));
        break;
      case backward:
        out_ = stage_.backward(action, std::exchange(in_, {}));
        break;
      case backward_input:
        out_ = stage_.backward_input(action, std::exchange(in_, {}));
        break;
      case backward_weight:
        stage_.backward_weight(action);
        break;
      case evaluate:
        out_ = stage_.evaluate(action, std::exchange(in_, {}));
        break;
      case send_activation:
        send(*links.activations_out, action);
        break;
      case send_gradient:
        send(*links.gradients_out, action);
        break;
      case send_evaluation:
        send(*links.evaluations_out, action);
        break;
      case contribute:
        stage_.contribute(action);
        break;
      case await_reduction:
        stage_.await_reduction(action);
        break;
      case update:
        stage_.update(action);
        break;
    }
  }

  void send(Edge& edge, const schedule::Action& action) {
    edge.send({action, Clock::now(), std::exchange(out_, {})});
  }

  Payload receive(Edge& edge, const schedule::Action& action) {
    auto [origin, sent, payload] = edge.receive();
    made_ = sent;
    const bool other_version = setup_.same_versions && origin.version != action.version;
    if (origin.batch != action.batch || origin.micro_batch != action.micro_batch || other_version) {
      throw std::logic_error(
          fmt::format("out of order: the neighbour sent {}", schedule::describe(origin)));
    }
    return std::move(payload);
  }

  template <class What, class Function>
  void guarded(const What& what, Function&& function) {
    try {
      function();
    } catch (const comm::Closed&) {
      throw;
    } catch (const std::exception& cause) {
      std::throw_with_nested(StageFailure(
          fmt::format("[engine] stage {}, {}: {}", setup_.number, text(what), first_line(cause))));
    }
  }

  static std::string text(const char* what) { return what; }
  static std::string text(const schedule::Action& action) { return schedule::describe(action); }

  Stage<Payload>& stage_;
  const ExecutorSetup<Payload> setup_;
  Payload in_{};
  Payload out_{};
  Clock::time_point made_;  // when the message received last was sent
};

}  // namespace penstock::engine
