#pragma once
// Turns the engine's events into metrics, progress, trace and the numbers of the summary.

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "config/config.h"
#include "engine/events.h"
#include "observe/metrics.h"
#include "observe/progress.h"
#include "observe/summary.h"
#include "timeline/trace_file.h"
#include "train/batch_events.h"
#include "train/kept_metrics.h"
#include "train/stage_account.h"

namespace penstock::train {

/// Knows the run by its events alone, so that its stages may be in other processes. An update's
/// record is written when all stages have told of it; records are in the order of batches.
/// Used by one thread.
class RunReporter {
 public:
  struct Sinks {
    observe::MetricsWriter* metrics = nullptr;
    observe::Progress* progress = nullptr;
    timeline::TraceWriter* trace = nullptr;  // null: the run is not traced
  };

  /// Time starts now, or goes on behind the last record of `kept`, which counts in every number
  /// but is not written again. The configuration and the sinks must outlive the object.
  RunReporter(const config::Config& config, Sinks sinks, const KeptMetrics& kept = {});

  /// Checkpoints are not for here.
  void handle(const engine::Event& event);

  /// After the last event, also of a failed run: writes the updates whose events are not complete.
  void finish();

  /// Steps, tokens, times, losses and stages so far; the rest is the caller's.
  observe::RunSummary summary() const;
  /// Of the stages that have reported one, in any order.
  const std::vector<engine::StageProfile>& profiles() const { return profiles_; }
  /// The loss of every update; NaN where it was skipped.
  const std::vector<double>& losses() const { return losses_; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  void keep(const KeptMetrics& kept);
  void count(const observe::UpdateRecord& record);
  void write(const EventOrder::Entry& entry);
  void write_update(const BatchEvents& events);
  void write_evaluation(const engine::EvaluationEvent& event);
  double seconds_at(Time time) const;

  const config::Config& config_;
  const Sinks sinks_;
  const Time start_;  // second 0 of the run
  EventOrder events_;
  std::vector<StageAccount> stages_;
  std::vector<engine::StageProfile> profiles_;
  std::vector<double> losses_;
  std::int64_t skipped_ = 0;
  std::optional<std::int64_t> first_skipped_;
  std::optional<double> train_loss_;
  std::optional<double> val_loss_;
  double last_update_ = 0;  // seconds
  double eval_seconds_ = 0;
  double eval_seconds_at_last_update_ = 0;
};

}  // namespace penstock::train
