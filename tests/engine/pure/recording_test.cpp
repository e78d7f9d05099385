// What is recorded of a run.

#include <gtest/gtest.h>

#include "engine/executor.h"
#include "engine/pure/fake_run.h"
#include "engine/pure/random_delays.h"

namespace penstock::tests {
namespace {

using schedule::Action;

/// Recorders that keep everything.
class Recording {
 public:
  explicit Recording(int stages) : spans_(static_cast<std::size_t>(stages)) {
    for (auto& spans : spans_) {
      recorders_.emplace_back(
          [&spans](const auto& block) { spans.insert(spans.end(), block.begin(), block.end()); });
    }
  }
  std::deque<engine::SpanRecorder>* recorders() { return &recorders_; }
  const std::vector<timeline::Span>& of(int stage) const {
    return spans_[static_cast<std::size_t>(stage)];
  }

 private:
  std::vector<std::vector<timeline::Span>> spans_;
  std::deque<engine::SpanRecorder> recorders_;
};

TEST(Recording, EndsWhereARunFails) {
  const FakeRun run{.shape = {1, 2}, .batches = 1000};
  Recording recording(1);
  RunOptions options{.recorders = recording.recorders()};
  options.before_action = [](int, const Action& action) {
    const Action last{schedule::ActionKind::forward, 5, 1, 4};
    if (action == last) throw std::runtime_error("a bearing broke");
  };
  EXPECT_THROW(run_fake(run, options), engine::StageFailure);
  ASSERT_FALSE(recording.of(0).empty());
  const Action last{schedule::ActionKind::backward, 5, 0, 4};
  EXPECT_EQ(recording.of(0).back().action, last);
}

TEST(Recording, HasEveryActionInOrderOfTime) {
  const FakeRun run{.schedule = "zb-v", .shape = {2, 4, 2}, .batches = 3, .evaluation = {2, 2}};
  Recording recording(2);
  RandomDelays delays(7, 2);
  run_fake(run, {.before_action = std::ref(delays), .recorders = recording.recorders()});
  double transfer = 0;
  for (int s = 0; s < 2; ++s) {
    auto plan = schedule::stage_stream(
        run.make_schedule(), s, run.shape,
        {.evaluation = run.evaluation, .has_batch = [](std::int64_t batch) { return batch < 3; }});
    double before = 0;
    for (const auto& span : recording.of(s)) {
      const auto planned = plan.next();
      ASSERT_TRUE(planned);
      EXPECT_EQ(span.action, *planned);
      EXPECT_LE(before, span.begin);
      EXPECT_LE(span.begin, span.end);
      EXPECT_GE(span.transfer, 0);
      EXPECT_LE(span.transfer, span.seconds() + 1e-12);  // rounding
      before = span.end;
      transfer += span.transfer;
    }
    EXPECT_FALSE(plan.next());
  }
  EXPECT_GT(transfer, 0);
}

TEST(Recording, MonitorsCountEveryAction) {
  const FakeRun run{.shape = {3, 3}, .batches = 5};
  Recording recording(3);
  std::deque<engine::StageMonitor> monitors(3);
  run_fake(run, {.cores = 1, .monitors = &monitors, .recorders = recording.recorders()});
  for (int s = 0; s < 3; ++s) {
    const auto doing = monitors[static_cast<std::size_t>(s)].snapshot();
    timeline::Usage usage;
    for (const auto& span : recording.of(s)) usage.add(span);
    EXPECT_EQ(doing.actions, static_cast<std::int64_t>(recording.of(s).size()));
    // Both add the same times up, in doubles.
    EXPECT_NEAR(doing.usage.seconds(), usage.seconds(), 1e-9);
    EXPECT_NEAR(doing.usage.work, usage.work, 1e-9);
  }
}

}  // namespace
}  // namespace penstock::tests
