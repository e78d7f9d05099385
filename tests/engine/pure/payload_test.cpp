// What travels between stages is moved all the way: out of a stage, through its channel, into the
// next one.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <utility>

#include "engine/stage_threads.h"
#include "schedule/lowering.h"

namespace penstock::engine {
namespace {

struct Counts {
  std::atomic<int> copies = 0;
  std::atomic<int> moves = 0;
};

/// Counts what happens to it, where it was not made by default.
struct Payload {
  Payload() = default;
  explicit Payload(Counts& all) : counts(&all) {}
  Payload(const Payload& other) : counts(other.counts) { count(&Counts::copies); }
  Payload(Payload&& other) noexcept : counts(std::exchange(other.counts, nullptr)) {
    count(&Counts::moves);
  }
  Payload& operator=(const Payload& other) {
    counts = other.counts;
    count(&Counts::copies);
    return *this;
  }
  Payload& operator=(Payload&& other) noexcept {
    counts = std::exchange(other.counts, nullptr);
    count(&Counts::moves);
    return *this;
  }
  ~Payload() = default;

  void count(std::atomic<int> Counts::*what) const {
    if (counts != nullptr) ++(counts->*what);
  }

  Counts* counts = nullptr;
};

/// Hands on what it is given, or something new at the model's ends.
class HandingStage final : public Stage<Payload> {
 public:
  using Action = schedule::Action;
  explicit HandingStage(Counts& counts) : counts_(counts) {}

  Payload forward(const Action&, Payload input) override { return hand_on(std::move(input)); }
  Payload backward(const Action&, Payload gradient) override {
    return hand_on(std::move(gradient));
  }
  Payload backward_input(const Action&, Payload gradient) override {
    return hand_on(std::move(gradient));
  }
  void backward_weight(const Action&) override {}
  void contribute(const Action&) override {}
  void await_reduction(const Action&) override {}
  void update(const Action&) override {}
  Payload evaluate(const Action&, Payload input) override { return hand_on(std::move(input)); }
  void capture(const Action&) override {}
  void in_transit(const Action&, const Action&, const Payload&) override {}

  int handed_on = 0;

 private:
  Payload hand_on(Payload payload) {
    ++handed_on;
    return payload.counts == nullptr ? Payload(counts_) : std::move(payload);
  }

  Counts& counts_;
};

class Payloads : public testing::TestWithParam<const char*> {};

TEST_P(Payloads, AreMovedAndNeverCopied) {
  const auto& schedule = schedule::find(GetParam());
  const schedule::PipelineShape shape{3, 6, schedule.default_chunks};
  constexpr std::int64_t batches = 4;
  Counts counts;
  std::deque<HandingStage> stages;
  std::deque<StageMonitor> monitors(3);
  Edges<Payload> edges(shape, schedule.placement);
  StageThreads<Payload> threads;
  threads.edges = &edges;
  threads.same_versions = schedule.updates_together;
  threads.monitors = &monitors;
  for (int s = 0; s < shape.stages; ++s) {
    schedule::StreamPlan plan;
    plan.evaluation = {2, 2};
    plan.has_batch = [](std::int64_t batch) { return batch < batches; };
    // A message across a capture is shown to its receiver.
    plan.capture_due = [](std::int64_t version) { return version == 2; };
    threads.streams.push_back(schedule::stage_stream(schedule, s, shape, std::move(plan)));
    threads.stages.push_back(&stages.emplace_back(counts));
  }
  run_stage_threads(std::move(threads));
  int handed_on = 0;
  for (const auto& stage : stages) handed_on += stage.handed_on;
  EXPECT_EQ(handed_on, shape.pieces() * (2 * 6 * batches + 2 * 2));
  EXPECT_GE(counts.moves, handed_on);
  EXPECT_EQ(counts.copies, 0);
}

INSTANTIATE_TEST_SUITE_P(Schedules, Payloads,
                         testing::Values("2bw", "2bw-ahead", "1f1b", "zb-h1", "zb-v"));

}  // namespace
}  // namespace penstock::engine
