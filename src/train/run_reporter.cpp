#include "train/run_reporter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <variant>

namespace penstock::train {
namespace {

using std::chrono::steady_clock;

double to_seconds(steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

steady_clock::time_point start_of(const KeptMetrics& kept) {
  double seconds = 0;
  for (const auto& update : kept.updates) seconds = std::max(seconds, update.seconds);
  for (const auto& evaluation : kept.evaluations) seconds = std::max(seconds, evaluation.seconds);
  return steady_clock::now() -
         std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(seconds));
}

std::map<std::string, observe::GroupRecord> groups_of(const BatchEvents& events) {
  engine::GroupChanges sums;
  for (const auto& stage : events.stages) {
    if (!stage) continue;
    for (const auto& [name, change] : stage->groups) sums[name] += change;
  }
  std::map<std::string, observe::GroupRecord> groups;
  for (const auto& [name, sum] : sums) {
    groups[name] = {.error_ratio = std::sqrt(sum.update_change / sum.update),
                    .update_ratio = std::sqrt(sum.step / sum.weight)};
  }
  return groups;
}

}  // namespace

RunReporter::RunReporter(const config::Config& config, Sinks sinks, const KeptMetrics& kept)
    : config_(config),
      sinks_(sinks),
      start_(start_of(kept)),
      events_(static_cast<int>(config.pipeline.stages),
              static_cast<std::int64_t>(kept.updates.size())),
      stages_(static_cast<std::size_t>(config.pipeline.stages), StageAccount(steady_clock::now())) {
  keep(kept);
}

void RunReporter::keep(const KeptMetrics& kept) {
  for (const auto& record : kept.updates) {
    count(record);
    const std::size_t told = std::min(record.stages.size(), stages_.size());
    for (std::size_t s = 0; s < told; ++s) {
      if (record.stages[s]) stages_[s].add(*record.stages[s]);
    }
  }
  const auto updates = static_cast<std::int64_t>(kept.updates.size());
  for (const auto& record : kept.evaluations) {
    eval_seconds_ += record.duration;
    if (record.step < updates) eval_seconds_at_last_update_ += record.duration;
    val_loss_ = record.val_loss;
  }
  sinks_.progress->skipped_before(skipped_);
}

double RunReporter::seconds_at(Time time) const { return to_seconds(time - start_); }

void RunReporter::handle(const engine::Event& event) {
  if (const auto* update = std::get_if<engine::UpdateEvent>(&event)) events_.add(*update);
  if (const auto* stage = std::get_if<engine::StageEvent>(&event)) events_.add(*stage);
  if (const auto* evaluation = std::get_if<engine::EvaluationEvent>(&event)) {
    events_.add(*evaluation);
  }
  if (const auto* spans = std::get_if<engine::SpansEvent>(&event)) {
    for (const auto& span : spans->spans) sinks_.trace->add(spans->stage, span);
  }
  if (const auto* stage = std::get_if<engine::ProfileEvent>(&event)) {
    profiles_.push_back(stage->profile);
  }
  while (const auto entry = events_.take()) write(*entry);
}

void RunReporter::finish() {
  while (const auto entry = events_.take_incomplete()) write(*entry);
}

void RunReporter::write(const EventOrder::Entry& entry) {
  if (const auto* update = std::get_if<BatchEvents>(&entry)) {
    write_update(*update);
  } else {
    write_evaluation(std::get<engine::EvaluationEvent>(entry));
  }
}

void RunReporter::count(const observe::UpdateRecord& record) {
  losses_.push_back(record.loss);
  last_update_ = record.seconds;
  if (record.skipped) {
    ++skipped_;
    if (!first_skipped_) first_skipped_ = record.step;
  } else {
    train_loss_ = record.loss;
  }
}

void RunReporter::write_update(const BatchEvents& events) {
  const auto& update = *events.update;
  observe::UpdateRecord record;
  record.step = update.batch + 1;
  record.loss = update.skipped ? observe::undefined : update.loss;
  record.gradient_norm = update.gradient_norm;
  record.clip_factor = update.clip_factor;
  record.lr = update.lr;
  record.tokens = record.step * config_.tokens_per_update();
  record.seconds = seconds_at(update.at);
  record.skipped = update.skipped;
  record.groups = groups_of(events);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    if (const auto& event = events.stages[s]) {
      const auto entry = stages_[s].add(*event, update.at);
      record.stages.emplace_back(entry.record);
      record.busy.push_back(entry.busy);
    } else {
      record.stages.emplace_back(std::nullopt);
      record.busy.push_back(observe::undefined);
    }
  }
  eval_seconds_at_last_update_ = eval_seconds_;
  count(record);
  sinks_.metrics->write(record);
  sinks_.progress->update(record);
}

void RunReporter::write_evaluation(const engine::EvaluationEvent& event) {
  const double duration = to_seconds(event.at - event.begin);
  eval_seconds_ += duration;
  val_loss_ = event.loss;
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

observe::RunSummary RunReporter::summary() const {
  observe::RunSummary summary;
  summary.steps = static_cast<std::int64_t>(losses_.size());
  summary.skipped = skipped_;
  summary.first_skipped = first_skipped_;
  summary.tokens = summary.steps * config_.tokens_per_update();
  summary.seconds = last_update_ - eval_seconds_at_last_update_;
  summary.eval_seconds = eval_seconds_;
  if (summary.seconds > 0) {
    summary.tokens_per_s = static_cast<double>(summary.tokens) / summary.seconds;
  }
  summary.train_loss = train_loss_;
  summary.val_loss = val_loss_;
  for (const auto& stage : stages_) summary.stages.push_back(stage.summary(summary.seconds));
  return summary;
}

}  // namespace penstock::train
