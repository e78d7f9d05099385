#include "train/run_reporter.h"

#include <algorithm>
#include <variant>

namespace penstock::train {
namespace {

using std::chrono::steady_clock;

double to_seconds(steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

RunReporter::RunReporter(const config::Config& config, const std::deque<engine::StageClock>& clocks,
                         Sinks sinks)
    : config_(config),
      clocks_(clocks),
      sinks_(sinks),
      start_(steady_clock::now()),
      last_update_(start_),
      busy_from_(start_),
      worked_(clocks.size(), 0.0) {}

double RunReporter::seconds_at(Time time) const { return to_seconds(time - start_); }

void RunReporter::handle(const engine::Event& event) {
  if (const auto* update = std::get_if<engine::UpdateEvent>(&event)) on_update(*update);
  if (const auto* evaluation = std::get_if<engine::EvaluationEvent>(&event)) {
    on_evaluation(*evaluation);
  }
  if (const auto* spans = std::get_if<engine::SpansEvent>(&event)) on_spans(*spans);
}

std::vector<double> RunReporter::busy_since_last(Time now) {
  const double elapsed = to_seconds(now - busy_from_);
  std::vector<double> busy;
  for (std::size_t s = 0; s < clocks_.size(); ++s) {
    const double worked = clocks_[s].working_seconds();
    busy.push_back(elapsed > 0 ? std::min(1.0, (worked - worked_[s]) / elapsed) : 0.0);
    worked_[s] = worked;
  }
  busy_from_ = now;
  return busy;
}

void RunReporter::on_update(const engine::UpdateEvent& event) {
  last_update_ = event.at;
  eval_seconds_at_last_update_ = eval_seconds_;
  losses_.push_back(event.loss);
  const observe::UpdateRecord record{
      .step = event.batch + 1,
      .loss = event.loss,
      .gradient_norm = event.gradient_norm,
      .clip_factor = event.clip_factor,
      .lr = event.lr,
      .tokens = (event.batch + 1) * config_.tokens_per_update(),
      .seconds = seconds_at(event.at),
      .busy = busy_since_last(steady_clock::now()),
  };
  sinks_.metrics->write(record);
  sinks_.progress->update(record);
}

void RunReporter::on_evaluation(const engine::EvaluationEvent& event) {
  const double duration = to_seconds(event.at - event.begin);
  eval_seconds_ += duration;
  val_loss_ = event.loss;
  busy_since_last(steady_clock::now());
  const observe::EvalRecord record{
      .step = event.version,
      .val_loss = event.loss,
      .sequences = event.tokens / config_.model.seq,
      .seconds = seconds_at(event.at),
      .duration = duration,
  };
  sinks_.metrics->write(record);
  sinks_.progress->evaluation(record);
}

void RunReporter::on_spans(const engine::SpansEvent& event) {
  for (const auto& span : event.spans) sinks_.trace->add(event.stage, span);
}

observe::RunSummary RunReporter::summary() const {
  observe::RunSummary summary;
  summary.steps = static_cast<std::int64_t>(losses_.size());
  summary.tokens = summary.steps * config_.tokens_per_update();
  summary.seconds = seconds_at(last_update_) - eval_seconds_at_last_update_;
  summary.eval_seconds = eval_seconds_;
  if (summary.seconds > 0) {
    summary.tokens_per_s = static_cast<double>(summary.tokens) / summary.seconds;
  }
  if (!losses_.empty()) summary.train_loss = losses_.back();
  summary.val_loss = val_loss_;
  for (const auto& clock : clocks_) {
    const double busy = summary.seconds > 0 ? clock.working_seconds() / summary.seconds : 0.0;
    summary.busy_fraction.push_back(std::min(1.0, busy));
  }
  return summary;
}

}  // namespace penstock::train
