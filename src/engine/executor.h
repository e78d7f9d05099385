#pragma once
// Runs the actions of one stage, in order, knowing nothing of what they mean.

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/error.h"
#include "comm/channel.h"
#include "comm/closed.h"
#include "engine/stage.h"
#include "engine/stage_clock.h"
#include "schedule/schedule.h"

namespace penstock::engine {

/// A payload and the action that made it, so that a receiver can tell that it got the right one.
template <class Payload>
struct Message {
  schedule::Action origin;
  Payload payload;
};

/// The channels of one stage; null at the ends of the pipeline.
template <class Payload>
struct Links {
  using Edge = comm::Channel<Message<Payload>>;
  Edge* activations_in = nullptr;
  Edge* activations_out = nullptr;
  Edge* gradients_in = nullptr;
  Edge* gradients_out = nullptr;
};

/// A failure inside one stage: names the stage and the action, and nests the cause.
struct StageFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Payload>
class Executor {
 public:
  Executor(int number, Stage<Payload>& stage, Links<Payload> links, StageClock& clock)
      : number_(number), stage_(stage), links_(links), clock_(clock) {}

  /// Runs until the stream ends. Errors: comm::Closed when a neighbour stopped, otherwise
  /// StageFailure with the original exception nested.
  void run(schedule::ActionStream& actions) {
    guarded("start", [&] { stage_.start(); });
    while (const auto action = actions.next()) {
      const auto begin = std::chrono::steady_clock::now();
      guarded(*action, [&] { perform(*action); });
      clock_.add(action->kind, std::chrono::steady_clock::now() - begin);
    }
  }

 private:
  void perform(const schedule::Action& action) {
    using enum schedule::ActionKind;
    switch (action.kind) {
      case receive_activation:
        in_ = receive(*links_.activations_in, action);
        break;
      case receive_gradient:
        in_ = receive(*links_.gradients_in, action);
        break;
      case forward:
        out_ = stage_.forward(action, std::exchange(in_, {}));
        break;
      case backward:
        out_ = stage_.backward(action, std::exchange(in_, {}));
        break;
      case evaluate:
        out_ = stage_.evaluate(action, std::exchange(in_, {}));
        break;
      case send_activation:
        send(*links_.activations_out, action);
        break;
      case send_gradient:
        send(*links_.gradients_out, action);
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

  void send(typename Links<Payload>::Edge& edge, const schedule::Action& action) {
    edge.send({action, std::exchange(out_, {})});
  }

  Payload receive(typename Links<Payload>::Edge& edge, const schedule::Action& action) {
    auto [origin, payload] = edge.receive();
    if (origin.batch != action.batch || origin.micro_batch != action.micro_batch ||
        origin.version != action.version) {
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
          fmt::format("[engine] stage {}, {}: {}", number_, text(what), first_line(cause))));
    }
  }

  static std::string text(const char* what) { return what; }
  static std::string text(const schedule::Action& action) { return schedule::describe(action); }

  const int number_;
  Stage<Payload>& stage_;
  const Links<Payload> links_;
  StageClock& clock_;
  Payload in_{};
  Payload out_{};
};

}  // namespace penstock::engine
