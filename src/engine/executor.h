#pragma once
// Runs the actions of one stage, in order, knowing nothing of what they mean.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/channel.h"
#include "comm/closed.h"
#include "engine/core_tokens.h"
#include "engine/span_recorder.h"
#include "engine/stage.h"
#include "engine/stage_monitor.h"
#include "engine/stage_profiler.h"
#include "schedule/action_stream.h"
#include "timeline/timeline.h"

namespace penstock::engine {

/// A payload and the action that made it, so that a receiver can tell that it got the right one.
template <class Payload>
struct Message {
  schedule::Action origin;
  std::int64_t sender_version = 0;  // newest weights of the sender
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

/// A failure inside one stage: names rank, stage and action, and nests the cause.
struct StageFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What surrounds a stage.
template <class Payload>
struct ExecutorSetup {
  int rank = 0;
  int number = 0;
  std::vector<Links<Payload>> links;  // of its chunks
  /// Whether neighbours read the same weight version for the same micro-batch.
  bool same_versions = true;
  std::int64_t cut = 0;                         // where the run goes on: the stage has W(cut)
  std::chrono::steady_clock::time_point start;  // second 0 of all spans
  StageMonitor* monitor = nullptr;
  SpanRecorder* recorder = nullptr;   // null: nothing is recorded
  StageProfiler* profiler = nullptr;  // null: no operation is timed
  CoreTokens* cores = nullptr;        // null: one for every stage
  /// Called before every action; what it throws counts as a failure of the action.
  std::function<void(int stage, const schedule::Action&)> before_action;
};

template <class Payload>
class Executor {
 public:
  Executor(Stage<Payload>& stage, ExecutorSetup<Payload> setup)
      : stage_(stage), setup_(std::move(setup)), version_(setup_.cut) {}

  /// Runs until the stream ends. Errors: comm::Closed when a neighbour stopped, otherwise
  /// StageFailure with the original exception nested.
  void run(schedule::ActionStream& actions) {
    const Leave leave{*setup_.monitor};
    guarded("start", [&] { stage_.start(); });
    while (const auto action = actions.next()) {
      const Core core(setup_, *action);
      guarded(*action, [&] { run(*action); });
    }
    guarded("finish", [&] { stage_.finish(); });
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Edge = typename Links<Payload>::Edge;

  struct Leave {
    StageMonitor& monitor;
    ~Leave() { monitor.leave(Clock::now()); }
  };

  /// Holds a core for an action that is work, where stages have to share them.
  class Core {
   public:
    Core(const ExecutorSetup<Payload>& setup, const schedule::Action& action)
        : cores_(schedule::is_waiting(action.kind) ? nullptr : setup.cores) {
      if (cores_ == nullptr || cores_->try_acquire()) return;
      setup.monitor->wait_for_core(action, Clock::now());
      cores_->acquire();
    }
    ~Core() {
      if (cores_ != nullptr) cores_->release();
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

   private:
    CoreTokens* cores_;
  };

  void run(const schedule::Action& action) {
    const auto begin = Clock::now();
    setup_.monitor->begin(action, begin);
    if (setup_.before_action) setup_.before_action(setup_.number, action);
    made_ = Clock::time_point::max();
    {
      const StageProfiler::Scope profiled(setup_.profiler, action);
      perform(action);
    }
    const auto end = Clock::now();
    const auto made = std::min(made_, end);
    setup_.monitor->end(end, made);
    if (setup_.profiler != nullptr && action.kind == schedule::ActionKind::update) {
      setup_.profiler->updated(end, setup_.monitor->snapshot());
    }
    if (setup_.recorder == nullptr) return;
    setup_.recorder->add({action, seconds(begin - setup_.start), seconds(end - setup_.start),
                          seconds(end - std::max(begin, made))});
  }

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
        version_ = action.version;
        break;
      case capture:
        stage_.capture(action);
        captured_ = action.version;
        break;
    }
  }

  void send(Edge& edge, const schedule::Action& action) {
    edge.send({action, version_, Clock::now(), std::exchange(out_, {})});
  }

  Payload receive(Edge& edge, const schedule::Action& action) {
    auto message = edge.receive();
    made_ = message.sent;
    const auto& origin = message.origin;
    const bool other_version = setup_.same_versions && origin.version != action.version;
    if (origin.batch != action.batch || origin.micro_batch != action.micro_batch || other_version) {
      throw std::logic_error(
          fmt::format("out of order: the neighbour sent {}", schedule::describe(origin)));
    }
    if (message.sender_version < captured_) stage_.in_transit(action, origin, message.payload);
    return std::move(message.payload);
  }

  template <class What, class Function>
  void guarded(const What& what, Function&& function) {
    try {
      function();
    } catch (const comm::Closed&) {
      throw;
    } catch (const std::exception& cause) {
      std::throw_with_nested(
          StageFailure(fmt::format("[engine] rank {}, stage {}, {}: {}", setup_.rank, setup_.number,
                                   text(what), first_line(cause))));
    }
  }

  static std::string text(const char* what) { return what; }
  static std::string text(const schedule::Action& action) { return schedule::describe(action); }
  static double seconds(Clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  Stage<Payload>& stage_;
  const ExecutorSetup<Payload> setup_;
  Payload in_{};
  Payload out_{};
  Clock::time_point made_;      // when the message received last was sent
  std::int64_t version_;        // newest weights of this stage
  std::int64_t captured_ = -1;  // of the capture made last
};

}  // namespace penstock::engine
