#pragma once
// The engine's events, put together by update and in order.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "engine/events.h"

namespace penstock::train {

/// What is known of one update.
struct BatchEvents {
  std::optional<engine::UpdateEvent> update;
  std::vector<std::optional<engine::StageEvent>> stages;
};

/// Events of one stage arrive in the order of its batches, those of different stages in any order.
/// They leave by batch, and the evaluation of W(t) between batches t - 1 and t. Memory is bounded
/// by how far the stages run apart. Used by one thread.
class EventOrder {
 public:
  EventOrder(int stages, std::int64_t first_batch)
      : next_(first_batch), heard_until_(static_cast<std::size_t>(stages), first_batch) {}

  void add(const engine::UpdateEvent& event) { entry(event.batch).update = event; }

  /// One of a batch that has left already is dropped.
  void add(engine::StageEvent event) {
    const auto stage = static_cast<std::size_t>(event.stage);
    const std::int64_t batch = event.batch;
    heard_until_.at(stage) = batch + 1;
    if (batch >= next_) entry(batch).stages.at(stage) = std::move(event);
  }

  void add(const engine::EvaluationEvent& event) { evaluations_.push_back(event); }

  using Entry = std::variant<BatchEvents, engine::EvaluationEvent>;

  /// The next one, once its update and the events of all stages are there; a stage that has told of
  /// a later batch has nothing more to tell of this one.
  std::optional<Entry> take() {
    if (is_complete()) return take_next();
    return take_evaluation();
  }

  /// The next one with what is there of it; nothing where the update itself is missing.
  std::optional<Entry> take_incomplete() {
    if (is_reported()) return take_next();
    return take_evaluation();
  }

  /// Batches that have not left.
  std::size_t waiting() const { return pending_.size(); }

 private:
  BatchEvents& entry(std::int64_t batch) {
    auto& events = pending_[batch];
    events.stages.resize(heard_until_.size());
    return events;
  }

  bool evaluation_is_due() const {
    return !evaluations_.empty() && evaluations_.front().version <= next_;
  }

  bool is_reported() const {
    const auto found = pending_.find(next_);
    return !evaluation_is_due() && found != pending_.end() && found->second.update;
  }

  bool is_complete() const {
    if (!is_reported()) return false;
    for (const std::int64_t heard : heard_until_) {
      if (heard <= next_) return false;
    }
    return true;
  }

  std::optional<Entry> take_next() {
    auto events = std::move(pending_.extract(next_).mapped());
    ++next_;
    return events;
  }

  std::optional<Entry> take_evaluation() {
    if (!evaluation_is_due()) return std::nullopt;
    const auto event = evaluations_.front();
    evaluations_.pop_front();
    return event;
  }

  std::int64_t next_;
  std::vector<std::int64_t> heard_until_;  // by stage: batches below have been told of
  std::map<std::int64_t, BatchEvents> pending_;
  std::deque<engine::EvaluationEvent> evaluations_;
};

}  // namespace penstock::train
