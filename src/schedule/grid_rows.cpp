#include "schedule/grid_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "schedule/compute.h"

namespace penstock::schedule {
namespace {

using enum ActionKind;

bool computes_gradient(ActionKind kind) { return kind == backward || kind == backward_input; }
bool ends_micro_batch(ActionKind kind) { return kind == backward || kind == backward_weight; }

char letter(ActionKind kind) {
  switch (kind) {
    case forward:
      return 'F';
    case backward:
      return 'B';
    case backward_input:
      return 'X';
    case backward_weight:
      return 'W';
    default:
      return 'U';
  }
}

struct Position {
  int batch = 0;  // counted from the repetition's
  int micro_batch = 0;
};

Position position(const Step& step, int micro_batches) {
  if (step.kind == update) return {step.number, 0};
  const int within = step.number % micro_batches;
  const int micro_batch = within < 0 ? within + micro_batches : within;
  return {(step.number - micro_batch) / micro_batches, micro_batch};
}

/// The batches that a repetition's steps touch, counted from its own.
struct Reach {
  int first = 0;
  int last = 0;

  int batches() const { return last - first + 1; }
};

Reach reach(const GridRow& row, int micro_batches) {
  Reach reach;
  for (const auto* steps : {&row.once, &row.repeated}) {
    for (const Step& step : *steps) {
      const int batch = position(step, micro_batches).batch;
      reach.first = std::min(reach.first, batch);
      reach.last = std::max(reach.last, batch);
    }
  }
  return reach;
}

/// Checks that every kind of action is done exactly once for every batch.
class Coverage {
 public:
  Coverage(const Grid& grid, int stage)
      : grid_(grid), stage_(stage), row_(grid.rows[static_cast<std::size_t>(stage)]) {
    for (const Step& step : row_.once) steps_[key(step)].once.push_back(step);
    for (const Step& step : row_.repeated) steps_[key(step)].repeated.push_back(step);
  }

  void check() const {
    for (int chunk = 0; chunk < grid_.shape.chunks; ++chunk) {
      for (int j = 0; j < grid_.shape.micro_batches; ++j) check_micro_batch(j, chunk);
    }
    check_step({update, 0, 0});
  }

 private:
  struct Occurrences {
    std::vector<Step> once;
    std::vector<Step> repeated;
  };
  using Key = std::tuple<ActionKind, int, int>;

  Key key(const Step& step) const {
    return {step.kind, position(step, grid_.shape.micro_batches).micro_batch, step.chunk};
  }

  bool has(const Step& step) const { return steps_.contains(key(step)); }

  template <class... Args>
  UserError error(fmt::format_string<Args...> format, Args&&... args) const {
    return {fmt::format("{}:{}", grid_.source, row_.line),
            fmt::format(format, std::forward<Args>(args)...)};
  }

  std::string batch_size() const {
    const int m = grid_.shape.micro_batches;
    return fmt::format("{} micro-batch{} per batch", m, m == 1 ? "" : "es");
  }

  void check_micro_batch(int j, int chunk) const {
    const Step f{forward, j, chunk};
    const Step b{backward, j, chunk};
    const Step x{backward_input, j, chunk};
    const Step w{backward_weight, j, chunk};
    check_step(f);
    if (!has(x) && !has(w)) return check_step(b);
    if (has(b)) {
      throw error(
          "stage {} runs {} and also {}, which are both the backward of the same micro-batch; "
          "write {}, or {} and {}",
          stage_, to_text(b), to_text(has(x) ? x : w), to_text(b), to_text(x), to_text(w));
    }
    check_step(x);
    check_step(w);
  }

  /// `first`: the step as it is called in the first batch.
  void check_step(const Step& first) const {
    const auto found = steps_.find(key(first));
    const bool known = found != steps_.end();
    if (!known || found->second.repeated.empty()) {
      throw error("stage {} never runs {} ({}); add it {}", stage_, to_text(first), batch_size(),
                  known ? "to the part right of '|', which is repeated" : "to the row");
    }
    const auto& [once, repeated] = found->second;
    if (repeated.size() > 1) {
      const std::string a = to_text(repeated[0]);
      const std::string b = to_text(repeated[1]);
      throw error(
          "stage {} runs {} and {} in every repetition, which is the same work twice ({}); "
          "keep one of them",
          stage_, a, b, batch_size());
    }
    check_start(first, once, repeated[0]);
  }

  /// The repetitions do all batches from the one that they start with; `once` must do those before.
  void check_start(const Step& first, const std::vector<Step>& once, const Step& repeated) const {
    const int m = first.kind == update ? 1 : grid_.shape.micro_batches;
    const int start = std::max(position(repeated, grid_.shape.micro_batches).batch, 0);
    std::set<int> done;
    for (const Step& step : once) {
      const int batch = position(step, grid_.shape.micro_batches).batch;
      if (batch < 0) {
        throw error("'{}' left of '|' lies before the first batch; remove it", to_text(step));
      }
      if (batch >= start) {
        throw error(
            "stage {} runs {} left of '|' and again in repetition {} as {}; remove one of them",
            stage_, to_text(step), batch - position(repeated, grid_.shape.micro_batches).batch,
            to_text(repeated));
      }
      done.insert(batch);
    }
    for (int batch = 0; batch < start; ++batch) {
      if (done.contains(batch)) continue;
      Step missing = first;
      missing.number += batch * m;
      throw error("stage {} starts with {} in the first repetition, so {} is never done; {}",
                  stage_, to_text(repeated), to_text(missing),
                  batch == 0 && start == 1
                      ? fmt::format("add it left of '|', or write {0} instead of {1}",
                                    to_text(missing), to_text(repeated))
                      : "add it left of '|'");
    }
  }

  const Grid& grid_;
  const int stage_;
  const GridRow& row_;
  std::map<Key, Occurrences> steps_;
};

/// Walks through the first repetitions, until all that can differ has happened.
class OrderCheck {
 public:
  OrderCheck(const Grid& grid, int stage)
      : grid_(grid), stage_(stage), row_(grid.rows[static_cast<std::size_t>(stage)]) {}

  /// Returns the most chunk activations kept.
  int check() {
    const int repetitions = 2 * reach(row_, grid_.shape.micro_batches).batches() + 1;
    for (const Step& step : row_.once) visit(step, 0);
    for (int i = 0; i < repetitions; ++i) {
      for (const Step& step : row_.repeated) visit(step, i);
    }
    return most_kept_;
  }

 private:
  enum class State { forwarded, needs_weight_gradient };

  void visit(const Step& step, int repetition) {
    const auto [offset, micro_batch] = position(step, grid_.shape.micro_batches);
    const int batch = repetition + offset;
    if (batch < 0) return;
    if (step.kind == update) return update_from(batch, step);
    const std::tuple key{batch, micro_batch, step.chunk};
    if (step.kind == forward) {
      kept_.emplace(key, State::forwarded);
      most_kept_ = std::max(most_kept_, static_cast<int>(kept_.size()));
      return;
    }
    const auto found = kept_.find(key);
    const bool first_half = step.kind != backward_weight;
    const State needed = first_half ? State::forwarded : State::needs_weight_gradient;
    if (found == kept_.end() || found->second != needed) {
      const ActionKind before = first_half ? forward : backward_input;
      throw error(step, to_text({before, step.number, step.chunk}), "of the same micro-batch");
    }
    if (step.kind == backward_input) {
      found->second = State::needs_weight_gradient;
      return;
    }
    kept_.erase(found);
    if (++done_[batch] < grid_.shape.micro_batches * grid_.shape.chunks) return;
    done_.erase(batch);
    if (batch != ended_) throw error(step, "the last backward of the batch before", "");
    ++ended_;
  }

  void update_from(int batch, const Step& step) {
    if (batch >= ended_) throw error(step, "the last backward of that batch", "");
    if (batch != updates_) {
      throw error(step, to_text({update, step.number - 1, 0}), "from the batch before");
    }
    ++updates_;
  }

  UserError error(const Step& step, const std::string& later, std::string_view which) const {
    return {fmt::format("{}:{}", grid_.source, row_.line),
            fmt::format("stage {} runs {} before {}{}{}; put it behind", stage_, to_text(step),
                        later, which.empty() ? "" : " ", which)};
  }

  const Grid& grid_;
  const int stage_;
  const GridRow& row_;
  std::map<std::tuple<int, int, int>, State> kept_;
  std::map<int, int> done_;
  int most_kept_ = 0;
  int ended_ = 0;
  int updates_ = 0;
};

/// The versions that micro-batches in flight have read, and how far their batches are.
class InFlight {
 public:
  InFlight(const Grid& grid, const GridRow& row)
      : micro_batches_(grid.shape.micro_batches),
        chunks_(grid.shape.chunks),
        window_(reach(row, grid.shape.micro_batches).batches()),
        versions_(static_cast<std::size_t>(window_ * micro_batches_ * chunks_)),
        done_(static_cast<std::size_t>(window_)) {}

  std::int64_t& version(std::int64_t batch, int micro_batch, int chunk) {
    const std::int64_t index = ((batch % window_) * micro_batches_ + micro_batch) * chunks_ + chunk;
    return versions_[static_cast<std::size_t>(index)];
  }

  /// Counts one micro-batch on one chunk as done; returns whether it was the batch's last.
  bool ends(std::int64_t batch) {
    std::int64_t& done = done_[static_cast<std::size_t>(batch % window_)];
    if (++done < micro_batches_ * chunks_) return false;
    done = 0;
    return true;
  }

 private:
  std::int64_t micro_batches_;
  std::int64_t chunks_;
  std::int64_t window_;  // more batches are never in flight
  std::vector<std::int64_t> versions_;
  std::vector<std::int64_t> done_;
};

/// What a step does in the first repetition.
struct Job {
  ActionKind kind{};
  int batch = 0;
  int micro_batch = 0;
  int chunk = 0;
  bool for_next_forward = false;  // an update directly before an F
};

std::vector<Job> jobs(const std::vector<Step>& steps, int micro_batches) {
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    const auto [batch, micro_batch] = position(step, micro_batches);
    const bool waits = step.kind == update && i + 1 < steps.size() && steps[i + 1].kind == forward;
    jobs.push_back({step.kind, batch, micro_batch, step.chunk, waits});
  }
  return jobs;
}

int rounded_up(int a, int b) { return (a + b - 1) / b; }

int most_kept(const Grid& grid) {
  int most = 1;
  for (const StageLimits& limits : grid.limits) most = std::max(most, limits.in_flight);
  return most;
}

std::string complaint(const Grid& grid, PipelineShape shape) {
  if (shape == grid.shape) return "";
  const auto [d, m, v] = grid.shape;
  return fmt::format(
      "the grid '{}' is for pipeline.stages = {}, micro_batches = {} and chunks = {}, but they are "
      "{}, {} and {}; set them to the grid's, or write rows for this shape",
      grid.source, d, m, v, shape.stages, shape.micro_batches, shape.chunks);
}

}  // namespace

std::string to_text(const Step& step) {
  if (step.kind == update && step.number == 0) return "U";
  std::string text = fmt::format("{}{}", letter(step.kind), step.number);
  if (step.chunk != 0) text += fmt::format("'{}", step.chunk);
  return text;
}

int check_row(const Grid& grid, int stage) {
  Coverage(grid, stage).check();
  return OrderCheck(grid, stage).check();
}

int default_collect_after(const Grid& grid) {
  return 1 + rounded_up(most_kept(grid) - 1, grid.shape.micro_batches);
}

int default_reductions(const Grid& grid) {
  if (!grid.updates_together) {
    return grid.collect_after.value_or(default_collect_after(grid)) - 1 +
           rounded_up(most_kept(grid), grid.shape.micro_batches);
  }
  int needed = 2;
  for (const StageLimits& limits : grid.limits) needed = std::max(needed, limits.most_delay + 1);
  return needed;
}

ActionStream grid_actions(std::shared_ptr<const Grid> grid, int stage, HasBatch has_batch) {
  const GridRow& row = grid->rows[static_cast<std::size_t>(stage)];
  const std::int64_t collect_after = grid->collect_after.value_or(default_collect_after(*grid));
  const bool together = grid->updates_together;
  const bool stashes = grid->stashes_weights;
  const int first_batch = reach(row, grid->shape.micro_batches).first;
  const auto once = jobs(row.once, grid->shape.micro_batches);
  const auto repeated = jobs(row.repeated, grid->shape.micro_batches);
  InFlight in_flight(*grid, row);
  std::int64_t batches = 0;  // that the run is known to have
  bool ended = false;        // and it has no more
  std::int64_t contributed = 0;
  std::int64_t collected = 0;
  std::int64_t due = 0;  // updates that the row has come past
  std::int64_t updates = 0;

  for (std::int64_t repetition = -1; !ended || repetition + first_batch < batches; ++repetition) {
    for (const Job& job : repetition < 0 ? once : repeated) {
      const std::int64_t batch = std::max<std::int64_t>(repetition, 0) + job.batch;
      if (batch < 0) continue;
      if (job.kind != update) {
        while (!together && collected + collect_after <= contributed) {
          co_yield compute::await_reduction(collected++);
        }
      }
      while (job.kind == forward && !ended && batches <= batch) {
        ended = !has_batch(batches);
        if (!ended) ++batches;
      }
      if (batch >= batches) continue;
      if (job.kind == update) {
        due = batch + 1;
        if (job.for_next_forward && together && stashes) continue;
      }
      if (job.kind == update || job.kind == forward) {
        for (; updates < due; ++updates) {
          if (together) co_yield compute::await_reduction(updates);
          co_yield compute::update(updates);
        }
      }
      if (job.kind == update) continue;
      std::int64_t& version = in_flight.version(batch, job.micro_batch, job.chunk);
      const bool reads_newest = job.kind == forward || (!stashes && computes_gradient(job.kind));
      if (reads_newest) version = updates;
      const Action action{job.kind, batch, job.micro_batch, version, job.chunk};
      co_yield action;
      if (!ends_micro_batch(job.kind) || !in_flight.ends(batch)) continue;
      co_yield compute::contribute(batch);
      ++contributed;
    }
  }
  for (; updates < due; ++updates) {
    if (together) co_yield compute::await_reduction(updates);
    co_yield compute::update(updates);
  }
  while (!together && collected < contributed) co_yield compute::await_reduction(collected++);
}

namespace {

/// Schedule::begun_at. When a row's steps of batches before the first are over, and those that it
/// does in advance, every repetition asks for one batch and makes one update.
std::int64_t begun_at(const std::shared_ptr<const Grid>& grid, std::int64_t version) {
  const auto touched = reach(grid->rows[0], grid->shape.micro_batches).batches();
  const std::int64_t followed = std::min<std::int64_t>(version, 2 * std::int64_t{touched} + 2);
  std::int64_t asked = 0;
  auto actions = grid_actions(grid, 0, [&asked](std::int64_t batch) {
    asked = std::max(asked, batch + 1);
    return true;
  });
  while (const auto action = actions.next()) {
    if (action->kind == update && action->version == followed) break;
  }
  return asked + version - followed;
}

}  // namespace

Schedule grid_schedule(Grid grid) {
  const auto shared = std::make_shared<const Grid>(std::move(grid));
  Schedule schedule;
  schedule.name = shared->source;
  schedule.summary = shared->summary;
  schedule.placement = shared->placement;
  schedule.default_chunks = shared->shape.chunks;
  schedule.only_shape = shared->shape;
  schedule.stashes_weights = shared->stashes_weights;
  schedule.updates_together = shared->updates_together;
  schedule.reductions = [shared](PipelineShape) {
    return shared->reductions.value_or(default_reductions(*shared));
  };
  schedule.complaint = [shared](PipelineShape shape) { return complaint(*shared, shape); };
  schedule.limits = [shared](int stage, PipelineShape) {
    return shared->limits[static_cast<std::size_t>(stage)];
  };
  schedule.begun_at = [shared](std::int64_t version, PipelineShape) {
    return begun_at(shared, version);
  };
  schedule.generate = [shared](int stage, PipelineShape, HasBatch has_batch) {
    return grid_actions(shared, stage, std::move(has_batch));
  };
  return schedule;
}

}  // namespace penstock::schedule
