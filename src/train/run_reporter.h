#pragma once
// Turns the engine's events into metrics, progress, trace and the numbers of the summary.

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "config/config.h"
#include "engine/events.h"
#include "engine/stage_clock.h"
#include "observe/metrics.h"
#include "observe/progress.h"
#include "observe/summary.h"
#include "timeline/trace_file.h"

namespace penstock::train {

/// Used by one thread; reads the clocks while the stages write them.
class RunReporter {
 public:
  struct Sinks {
    observe::MetricsWriter* metrics = nullptr;
    observe::Progress* progress = nullptr;
    timeline::TraceWriter* trace = nullptr;  // null: the run is not traced
  };

  /// Time starts now. The arguments must outlive the object.
  RunReporter(const config::Config& config, const std::deque<engine::StageClock>& clocks,
              Sinks sinks);

  void handle(const engine::Event& event);

  /// Steps, tokens, times, losses and busy fractions so far; the rest is the caller's.
  observe::RunSummary summary() const;
  /// The loss of every update.
  const std::vector<double>& losses() const { return losses_; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  void on_update(const engine::UpdateEvent& event);
  void on_evaluation(const engine::EvaluationEvent& event);
  void on_spans(const engine::SpansEvent& event);
  std::vector<double> busy_since_last(Time now);
  double seconds_at(Time time) const;

  const config::Config& config_;
  const std::deque<engine::StageClock>& clocks_;
  const Sinks sinks_;
  const Time start_;
  Time last_update_;
  Time busy_from_;
  std::vector<double> worked_;  // seconds of each stage at busy_from_
  std::vector<double> losses_;
  std::optional<double> val_loss_;
  double eval_seconds_ = 0;
  double eval_seconds_at_last_update_ = 0;
};

}  // namespace penstock::train
