// Against the whole run solved as one system of equations.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "schedule/lowering.h"
#include "simulate/simulate.h"
#include "simulate/simulated.h"

namespace penstock::simulate {
namespace {

using schedule::Action;
using schedule::ActionKind;
using schedule::PipelineShape;
using schedule::Schedule;
using timeline::Span;
using timeline::Timeline;
using timeline::Usage;
using enum schedule::ActionKind;

/// Longest paths by sweeps over all actions until nothing changes: no order of processing, no
/// rings, no waiting.
class Equations {
 public:
  Equations(const Schedule& schedule, PipelineShape shape, const Costs& costs, std::int64_t batches)
      : shape_(shape), placement_(schedule.placement), costs_(costs) {
    for (int s = 0; s < shape.stages; ++s) {
      auto stream = with_transfers(
          schedule.generate(s, shape, [batches](std::int64_t b) { return b < batches; }), s, shape,
          schedule.placement);
      auto& actions = actions_.emplace_back();
      while (const auto action = stream.next()) actions.push_back(*action);
      end_.emplace_back(actions.size(), 0.0);
      for (int i = 0; i < static_cast<int>(actions.size()); ++i) number(s, i);
    }
    while (sweep()) {
    }
  }

  double end(int s, int i) const { return end_[size(s)][size(i)]; }
  const std::vector<Action>& actions(int s) const { return actions_[size(s)]; }

 private:
  struct Node {
    int stage = -1;
    int index = -1;
  };
  using MessageKey = std::tuple<bool, int, std::int64_t, std::int64_t>;  // gradient?, from piece

  int piece(int s, const Action& a) const { return piece_at(placement_, shape_, {s, a.chunk}); }

  static bool is_send(ActionKind kind) { return kind == send_activation || kind == send_gradient; }
  static bool is_receive(ActionKind kind) {
    return kind == receive_activation || kind == receive_gradient;
  }

  MessageKey key(int s, const Action& a) const {
    const bool gradient = a.kind == send_gradient || a.kind == receive_gradient;
    const int from = is_send(a.kind) ? piece(s, a) : piece(s, a) + (gradient ? 1 : -1);
    return {gradient, from, a.batch, a.micro_batch};
  }

  void number(int s, int i) {
    const Action& a = actions_[size(s)][size(i)];
    if (is_receive(a.kind)) {
      const auto [gradient, from, batch, micro_batch] = key(s, a);
      received_[{gradient, from}].push_back({s, i});
    }
    if (a.kind == contribute) shares_[a.batch].push_back({s, i});
  }

  double end_of(Node node) const { return end_[size(node.stage)][size(node.index)]; }

  double seconds(int s, const Action& a) const {
    const StageCosts& stage = costs_.stages[size(s)];
    const ChunkCosts& chunk = stage.chunks[size(a.chunk)];
    switch (a.kind) {
      case forward:
        return chunk.forward.mean * stage.slowdown;
      case backward:
        return chunk.backward.mean * stage.slowdown;
      case backward_input:
        return chunk.backward_input.mean * stage.slowdown;
      case backward_weight:
        return chunk.backward_weight.mean * stage.slowdown;
      case contribute:
        return stage.contribute.mean * stage.slowdown;
      case update:
        return stage.update.mean * stage.slowdown;
      default:
        return 0;
    }
  }

  const Link& link(int from, int to) const {
    const int between = std::abs(from - to) == 1 ? std::min(from, to) : shape_.stages - 1;
    return between < static_cast<int>(costs_.links.size()) ? costs_.links[size(between)]
                                                           : costs_.link;
  }

  bool sweep() {
    bool changed = false;
    for (int s = 0; s < shape_.stages; ++s) {
      std::map<int, double> wire;                 // by receiving stage
      std::map<std::pair<bool, int>, int> count;  // messages per edge
      for (int i = 0; i < static_cast<int>(actions_[size(s)].size()); ++i) {
        const Action& a = actions_[size(s)][size(i)];
        double time = i == 0 ? 0 : end(s, i - 1);
        if (is_receive(a.kind)) time = std::max(time, arrival_[key(s, a)]);
        if (a.kind == await_reduction) {
          for (const Node node : shares_[a.batch]) {
            time = std::max(time, end_of(node) + costs_.reduction);
          }
        }
        if (is_send(a.kind)) {
          const auto [gradient, from, batch, micro_batch] = key(s, a);
          const int k = count[{gradient, from}]++ - schedule::edge_capacity;
          if (k >= 0) time = std::max(time, end_of(received_[{gradient, from}].at(size(k))));
        }
        time += seconds(s, a);
        if (is_send(a.kind)) {
          const int there =
              place_of(placement_, shape_, piece(s, a) + (a.kind == send_gradient ? -1 : 1)).stage;
          double arrives = time;
          if (there != s) {
            wire[there] =
                std::max(wire[there], time) + costs_.message_bytes / link(s, there).bandwidth;
            arrives = wire[there] + link(s, there).latency;
          }
          changed = changed || arrival_[key(s, a)] != arrives;
          arrival_[key(s, a)] = arrives;
        }
        changed = changed || time != end(s, i);
        end_[size(s)][size(i)] = time;
      }
    }
    return changed;
  }

  PipelineShape shape_;
  schedule::Placement placement_;
  const Costs& costs_;
  std::vector<std::vector<Action>> actions_;
  std::vector<std::vector<double>> end_;
  std::map<std::pair<bool, int>, std::vector<Node>> received_;
  std::map<std::int64_t, std::vector<Node>> shares_;
  std::map<MessageKey, double> arrival_;
};

void expect_same_times(const Equations& equations, const Timeline& timeline) {
  for (int s = 0; s < timeline.shape.stages; ++s) {
    const auto& spans = timeline.stages[size(s)];
    const auto& actions = equations.actions(s);
    ASSERT_EQ(spans.size(), actions.size());
    double before = 0;
    for (int i = 0; i < static_cast<int>(spans.size()); ++i) {
      const Span& span = spans[size(i)];
      ASSERT_EQ(span.action, actions[size(i)]);
      ASSERT_EQ(span.begin, before);
      ASSERT_EQ(span.end, equations.end(s, i)) << "stage " << s << ", " << describe(span.action);
      before = span.end;
    }
  }
}

TEST(Simulate, TimesSolveTheScheduleAsEquations) {
  std::mt19937 random(7);
  int compared = 0;
  for (const auto& [schedule, shape] : cases(5, 7)) {
    const std::int64_t batches = 1 + random() % 5;
    SCOPED_TRACE(testing::Message() << schedule->name << " d=" << shape.stages
                                    << " m=" << shape.micro_batches << " batches=" << batches);
    const Costs costs = random_costs(shape, random);
    const Result result = run(*schedule, shape, costs, batches, true);
    ASSERT_TRUE(result.stuck.empty()) << result.stuck.front();
    expect_same_times(Equations(*schedule, shape, costs, batches), *result.timeline);
    ++compared;
  }
  EXPECT_GT(compared, 200);
}

}  // namespace
}  // namespace penstock::simulate
