#include "simulate/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "schedule/lowering.h"
#include "simulate/durations.h"
#include "simulate/edge.h"
#include "simulate/reductions.h"

namespace penstock::simulate {
namespace {

using schedule::Action;
using schedule::ActionKind;
using timeline::Usage;

constexpr double never = std::numeric_limits<double>::infinity();

/// The batches whose ends bound the steady window; first = -1: the whole run.
struct Window {
  std::int64_t first = -1;
  std::int64_t last = 0;
};

Window steady_window(schedule::PipelineShape shape, std::int64_t batches) {
  const std::int64_t ahead = (shape.stages - 1 + shape.micro_batches - 1) / shape.micro_batches;
  const std::int64_t last = batches - 1 - ahead;
  const std::int64_t first = std::min(batches / 4, last - 1);
  if (first < 0) return {-1, batches - 1};
  return {first, last};
}

enum class State { runs, waits, failed, done };

/// One stage on its way through its actions.
struct Worker {
  explicit Worker(schedule::ActionStream order) : stream(std::move(order)) {}

  schedule::ActionStream stream;
  Action action;            // the next one
  bool has_action = false;  // taken from the stream, but not performed yet
  State state = State::runs;
  double clock = 0;
  double fails_at = never;
  std::array<double, 2> wire_free{};  // its links to the next and the previous stage
  Usage* usage = nullptr;             // of the present phase
  std::array<Usage, 3> phases{};      // before, in and after the steady window
  std::int64_t actions = 0;
  std::int64_t updates = 0;
  std::int64_t in_flight = 0;
  std::int64_t peak_in_flight = 0;
  double activation_bytes = 0;
  double peak_activation_bytes = 0;
  double slack = never;
  std::vector<double> slacks;  // of the first batches
};

class Simulation {
 public:
  explicit Simulation(const Request& request)
      : shape_(request.shape),
        placement_(request.schedule->placement),
        schedule_(*request.schedule),
        costs_(*request.costs),
        batches_(request.batches),
        window_(steady_window(request.shape, request.batches)),
        durations_(*request.costs, request.shape),
        reductions_(request.shape.stages) {
    connect();
    start_workers();
    if (request.record) spans_.resize(workers_.size());
  }

  void run() {
    queue_.resize(workers_.size());
    for (int stage = 0; stage < shape_.stages; ++stage) wake(stage);
    while (queued_ > 0) {
      const int stage = queue_[head_];
      head_ = head_ + 1 == queue_.size() ? 0 : head_ + 1;
      --queued_;
      advance(stage);
    }
  }

  Result result() {
    Result result;
    stop_failed();
    result.batches_done = batches_;
    for (const Worker& worker : workers_) {
      result.batches_done = std::min(result.batches_done, worker.updates);
      result.total_time = std::max(result.total_time, worker.clock);
      result.actions += worker.actions;
    }
    const bool complete = std::ranges::all_of(
        workers_, [](const Worker& worker) { return worker.state == State::done; });
    if (!complete) window_ = {-1, batches_ - 1};
    result.window_first = window_.first;
    result.window_last = window_.last;
    collect_usage(result);
    collect_stages(result, complete);
    if (!spans_.empty()) {
      result.timeline = timeline::Timeline{schedule_.name, shape_, placement_, std::move(spans_)};
    }
    return result;
  }

 private:
  static std::size_t size(int number) { return static_cast<std::size_t>(number); }

  // ---- setting up

  void connect() {
    const int pieces = shape_.pieces();
    activations_.resize(size(pieces - 1));
    gradients_.resize(size(pieces - 1));
    for (int piece = 0; piece + 1 < pieces; ++piece) {
      const int a = place_of(placement_, shape_, piece).stage;
      const int b = place_of(placement_, shape_, piece + 1).stage;
      activations_[size(piece)] = edge(a, b);
      gradients_[size(piece)] = edge(b, a);
    }
  }

  Edge edge(int from, int to) const {
    Edge edge;
    edge.from = from;
    edge.to = to;
    if (from == to) return edge;
    // With two stages the next stage is also the previous one: one link, one wire each way.
    const bool to_next = to == (from + 1) % shape_.stages;
    edge.wire = to_next ? 0 : 1;
    const int lower = std::min(from, to);
    const int number = std::max(from, to) - lower == 1 ? lower : shape_.stages - 1;
    const Link& link =
        size(number) < costs_.links.size() ? costs_.links[size(number)] : costs_.link;
    edge.latency = link.latency;
    edge.occupancy = costs_.message_bytes / link.bandwidth;
    return edge;
  }

  void start_workers() {
    const auto has_batch = [count = batches_](std::int64_t batch) { return batch < count; };
    workers_.reserve(size(shape_.stages));
    for (int stage = 0; stage < shape_.stages; ++stage) {
      auto compute = schedule_.generate(stage, shape_, has_batch);
      workers_.emplace_back(with_transfers(std::move(compute), stage, shape_, placement_));
    }
    for (Worker& worker : workers_) worker.usage = &worker.phases[window_.first < 0 ? 1 : 0];
    if (costs_.failure) workers_[size(costs_.failure->stage)].fails_at = costs_.failure->at;
  }

  // ---- running

  void wake(int stage) {
    workers_[size(stage)].state = State::runs;
    queue_[(head_ + queued_) % queue_.size()] = stage;
    ++queued_;
  }

  /// Performs a stage's actions until one has to wait for a time that is not known yet.
  void advance(int stage) {
    Worker& worker = workers_[size(stage)];
    while (true) {
      if (!worker.has_action) {
        const auto next = worker.stream.next();
        if (!next) {
          worker.state = State::done;
          return;
        }
        worker.action = *next;
        worker.has_action = true;
      }
      if (worker.clock >= worker.fails_at) worker.state = State::failed;
      if (worker.state != State::runs || !perform(stage, worker)) return;
      worker.has_action = false;
      ++worker.actions;
    }
  }

  /// False if the stage waits or fails; the action is then still to be done.
  bool perform(int stage, Worker& worker) {
    using enum ActionKind;
    switch (worker.action.kind) {
      case forward:
        if (!work(stage, worker)) return false;
        keep_activation(stage, worker);
        return true;
      case backward:
      case backward_weight:
        if (!work(stage, worker)) return false;
        drop_activation(stage, worker);
        return true;
      case backward_input:
        split_backward_ = true;
        return work(stage, worker);
      case contribute:
        return work(stage, worker) && contributed(worker);
      case update:
        if (!work(stage, worker)) return false;
        ++worker.updates;
        return true;
      case capture:
        return finish(stage, worker, worker.clock);
      case await_reduction:
        return collect(stage, worker);
      case receive_activation:
        return receive(stage, worker, activations_[size(piece(stage, worker) - 1)],
                       worker.usage->wait_activation);
      case receive_gradient:
        return receive(stage, worker, gradients_[size(piece(stage, worker))],
                       worker.usage->wait_gradient);
      case send_activation:
        return send(stage, worker, activations_[size(piece(stage, worker))]);
      case send_gradient:
        return send(stage, worker, gradients_[size(piece(stage, worker) - 1)]);
      case receive_evaluation:
      case evaluate:
      case send_evaluation:
        break;
    }
    throw std::logic_error(
        fmt::format("[simulate] stage {}: {} cannot be simulated", stage, describe(worker.action)));
  }

  int piece(int stage, const Worker& worker) const {
    return piece_at(placement_, shape_, {stage, worker.action.chunk});
  }
  std::int64_t number_of(const Action& action) const {
    return action.batch * shape_.micro_batches + action.micro_batch;
  }

  /// Moves the stage's clock to the end of its action, unless the stage fails before.
  bool finish(int stage, Worker& worker, double end, double transfer = 0) {
    if (end > worker.fails_at) {
      worker.state = State::failed;
      return false;
    }
    if (!spans_.empty()) {
      spans_[size(stage)].push_back({worker.action, worker.clock, end, transfer});
    }
    worker.clock = end;
    return true;
  }

  bool wait(Worker& worker) {
    worker.state = State::waits;
    return false;
  }

  bool work(int stage, Worker& worker) {
    const double seconds = durations_.of(stage, worker.action);
    if (!finish(stage, worker, worker.clock + seconds)) return false;
    worker.usage->work += seconds;
    return true;
  }

  bool receive(int stage, Worker& worker, Edge& edge, double& waited) {
    if (!edge.has_message()) {
      edge.receiver_waits = true;
      return wait(worker);
    }
    const Edge::Message& message = edge.front();
    if (message.number != number_of(worker.action)) throw out_of_order(stage, worker, message);
    const double begin = worker.clock;
    const double end = std::max(begin, message.arrives);
    const double transfer = end - std::clamp(message.made, begin, end);
    if (!finish(stage, worker, end, transfer)) return false;
    worker.usage->transfer += transfer;
    waited += (end - begin) - transfer;
    edge.receive(end);
    if (std::exchange(edge.sender_waits, false)) wake(edge.from);
    return true;
  }

  bool send(int stage, Worker& worker, Edge& edge) {
    if (!edge.has_room()) {
      edge.sender_waits = true;
      return wait(worker);
    }
    const double begin = worker.clock;
    const double made = std::max(begin, edge.room_since());
    if (!finish(stage, worker, made)) return false;
    worker.usage->blocked += made - begin;
    double arrives = made;
    if (edge.wire >= 0) {
      double& wire_free = worker.wire_free[size(edge.wire)];
      wire_free = std::max(made, wire_free) + edge.occupancy;
      arrives = wire_free + edge.latency;
    }
    edge.send({.number = number_of(worker.action), .made = made, .arrives = arrives});
    if (std::exchange(edge.receiver_waits, false)) wake(edge.to);
    return true;
  }

  bool contributed(Worker& worker) {
    const std::int64_t batch = worker.action.batch;
    Round& round = reductions_.of(batch);
    round.result_at = std::max(round.result_at, worker.clock + costs_.reduction);
    ++round.contributed;
    if (reductions_.complete(round)) {
      for (const int stage : round.waiting) wake(stage);
      round.waiting.clear();
    }
    if (batch == window_.first) worker.usage = &worker.phases[1];
    if (batch == window_.last && window_.first >= 0) worker.usage = &worker.phases[2];
    return true;
  }

  bool collect(int stage, Worker& worker) {
    const std::int64_t batch = worker.action.batch;
    Round& round = reductions_.of(batch);
    if (!reductions_.complete(round)) {
      round.waiting.push_back(stage);
      return wait(worker);
    }
    const double begin = worker.clock;
    const double end = std::max(begin, round.result_at);
    if (!finish(stage, worker, end)) return false;
    worker.usage->wait_update += end - begin;
    if (batch < std::max<std::int64_t>(1, most_slacks / shape_.stages)) {
      worker.slacks.push_back(begin - round.result_at);
    }
    if (batch >= window_.first && (batch < window_.last || window_.first < 0)) {
      worker.slack = std::min(worker.slack, begin - round.result_at);
    }
    ++round.collected;
    return true;
  }

  double bytes_of(int stage, const Worker& worker) const {
    return costs_.stages[size(stage)].chunks[size(worker.action.chunk)].activation_bytes;
  }

  void keep_activation(int stage, Worker& worker) {
    worker.peak_in_flight = std::max(worker.peak_in_flight, ++worker.in_flight);
    worker.activation_bytes += bytes_of(stage, worker);
    worker.peak_activation_bytes = std::max(worker.peak_activation_bytes, worker.activation_bytes);
  }

  void drop_activation(int stage, Worker& worker) {
    --worker.in_flight;
    worker.activation_bytes -= bytes_of(stage, worker);
  }

  std::logic_error out_of_order(int stage, const Worker& worker,
                                const Edge::Message& message) const {
    return std::logic_error(
        fmt::format("[simulate] stage {}: {}, but its neighbour sent micro-batch {} of batch {}",
                    stage, describe(worker.action), message.number % shape_.micro_batches,
                    message.number / shape_.micro_batches));
  }

  // ---- results

  /// A stage that is to fail while it waits for something that never comes has failed, too.
  void stop_failed() {
    for (Worker& worker : workers_) {
      if (worker.fails_at == never || worker.state == State::done) continue;
      worker.state = State::failed;
      worker.usage->idle += worker.fails_at - worker.clock;
      worker.clock = worker.fails_at;
    }
  }

  void collect_usage(Result& result) {
    double bubble = 0;
    double seconds = 0;
    double work = 0;
    for (Worker& worker : workers_) {
      Usage whole;
      for (const Usage& phase : worker.phases) whole += phase;
      whole.idle += result.total_time - worker.clock;
      work += whole.work;
      StageResult stage;
      stage.usage = window_.first < 0 ? whole : worker.phases[1];
      const double length = stage.usage.seconds();
      stage.bubble_fraction = length > 0 ? stage.usage.bubble() / length : 0;
      bubble += stage.usage.bubble();
      seconds += length;
      result.stages.push_back(stage);
    }
    const auto stages = static_cast<double>(shape_.stages);
    const std::int64_t steps =
        window_.first < 0 ? result.batches_done : window_.last - window_.first;
    if (steps > 0) result.step_time = seconds / (stages * static_cast<double>(steps));
    if (seconds > 0) result.bubble_fraction = bubble / seconds;
    const double all = stages * result.total_time;
    if (all > 0) result.total_bubble_fraction = (all - work) / all;
  }

  void collect_stages(Result& result, bool complete) {
    double slack = never;
    double pair = 0;
    for (int s = 0; s < shape_.stages; ++s) {
      Worker& worker = workers_[size(s)];
      StageResult& stage = result.stages[size(s)];
      stage.slacks = std::move(worker.slacks);
      stage.peak_in_flight = worker.peak_in_flight;
      stage.peak_bytes = worker.peak_activation_bytes + fixed_bytes(s);
      if (worker.slack < never) stage.slack = worker.slack;
      slack = std::min(slack, worker.slack);
      pair = std::max(pair, durations_.pair(s, split_backward_));
      if (!complete) result.stuck.push_back(describe_state(s, worker));
    }
    if (slack == never) return;
    result.slack = slack;
    if (pair > 0) result.slack_pairs = slack / pair;
  }

  double fixed_bytes(int s) const {
    const StageCosts& costs = costs_.stages[size(s)];
    const schedule::StageLimits limits = schedule_.limits(s, shape_);
    return limits.versions * costs.weight_bytes + limits.gradient_buffers * costs.gradient_bytes +
           costs.optimizer_bytes;
  }

  static std::string describe_state(int s, const Worker& worker) {
    if (worker.state == State::done)
      return fmt::format("stage {} finished at {} s", s, worker.clock);
    if (worker.state == State::failed) {
      return fmt::format("stage {} failed at {} s, before the end of {}", s, worker.clock,
                         describe(worker.action));
    }
    return fmt::format("stage {} has waited since {} s: {}", s, worker.clock,
                       describe(worker.action));
  }

  const schedule::PipelineShape shape_;
  const schedule::Placement placement_;
  const schedule::Schedule& schedule_;
  const Costs& costs_;
  const std::int64_t batches_;
  Window window_;
  Durations durations_;
  Reductions reductions_;
  std::vector<Edge> activations_;  // [p] from piece p to p + 1
  std::vector<Edge> gradients_;    // [p] from piece p + 1 to p
  std::vector<Worker> workers_;
  std::vector<int> queue_;  // a ring of the stages that can go on, each at most once
  std::size_t head_ = 0;
  std::size_t queued_ = 0;
  bool split_backward_ = false;
  std::vector<std::vector<timeline::Span>> spans_;  // empty: not recorded
};

}  // namespace

Result simulate(const Request& request) {
  check_shape(*request.schedule, request.shape);
  if (request.batches < 1) {
    throw user_error("simulate", "a run has {} batches, but needs at least one; set 1 or more",
                     request.batches);
  }
  check(*request.costs, request.shape);
  Simulation simulation(request);
  simulation.run();
  return simulation.result();
}

}  // namespace penstock::simulate
