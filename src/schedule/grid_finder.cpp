#include "schedule/grid_finder.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"

namespace penstock::schedule {
namespace {

std::vector<Action> actions_of(ActionStream stream) {
  std::vector<Action> actions;
  while (const auto action = stream.next()) actions.push_back(*action);
  return actions;
}

HasBatch first_batches(std::int64_t batches) {
  return [batches](std::int64_t batch) { return batch < batches; };
}

bool is_step(const Action& action) {
  return action.kind != ActionKind::contribute && action.kind != ActionKind::await_reduction;
}

Step as_step(const Action& action, std::int64_t batch, int micro_batches) {
  const std::int64_t ahead = action.batch - batch;
  if (action.kind == ActionKind::update) return {action.kind, static_cast<int>(ahead), 0};
  return {action.kind, static_cast<int>(ahead * micro_batches + action.micro_batch), action.chunk};
}

/// Where the updates behind a batch's last backward belong.
enum class TrailingUpdates { of_that_batch, all, none };

class RowFinder {
 public:
  RowFinder(const Schedule& schedule, std::shared_ptr<Grid> grid, int stage)
      : schedule_(schedule), grid_(std::move(grid)), stage_(stage) {
    const StageLimits limits = grid_->limits[static_cast<std::size_t>(stage)];
    // Batches that may be apart on a stage, rounded up.
    apart_ = std::max(limits.in_flight, 0) / grid_->shape.micro_batches +
             std::max(limits.gradient_buffers, 0) + grid_->reductions.value_or(0) + 2;
  }

  /// Puts the row in its place in the grid.
  void find() {
    const std::int64_t batches = 3 * apart_;
    actions_ = run(batches);
    if (!grid_->updates_together && stage_ == 0) grid_->collect_after = collect_after();
    for (int first = 0; first <= apart_; ++first) {
      for (const auto rule :
           {TrailingUpdates::of_that_batch, TrailingUpdates::all, TrailingUpdates::none}) {
        grid_->rows[static_cast<std::size_t>(stage_)] = row(rule, first, 2 * apart_);
        if (reproduces(batches)) return;
      }
    }
    throw user_error("schedule",
                     "a grid needs a schedule that repeats from batch to batch, but '{}' does not "
                     "on stage {}; it can only run as a program",
                     schedule_.name, stage_);
  }

 private:
  std::vector<Action> run(std::int64_t batches) const {
    return actions_of(schedule_.generate(stage_, grid_->shape, first_batches(batches)));
  }

  bool reproduces(std::int64_t longest) const {
    try {
      check_row(*grid_, stage_);
    } catch (const UserError&) {
      return false;
    }
    for (const std::int64_t batches :
         {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, longest}) {
      if (actions_of(grid_actions(grid_, stage_, first_batches(batches))) != run(batches)) {
        return false;
      }
    }
    return true;
  }

  /// Batches that the stage has contributed when it first waits for a reduction.
  int collect_after() const {
    int contributed = 0;
    for (const Action& action : actions_) {
      if (action.kind == ActionKind::contribute) ++contributed;
      if (action.kind == ActionKind::await_reduction) break;
    }
    return contributed;
  }

  /// Index behind the last step that counts to `batch`.
  std::size_t end_of(std::int64_t batch, TrailingUpdates rule) const {
    const auto last = std::ranges::find_if(actions_, [batch](const Action& action) {
      return action.kind == ActionKind::contribute && action.batch == batch;
    });
    auto end = static_cast<std::size_t>(last - actions_.begin());
    for (std::size_t i = end + 1; i < actions_.size(); ++i) {
      if (!is_step(actions_[i])) continue;
      if (actions_[i].kind != ActionKind::update || rule == TrailingUpdates::none) break;
      if (rule == TrailingUpdates::of_that_batch && actions_[i].batch != batch) break;
      end = i + 1;
    }
    return end;
  }

  /// Repeats what is done between the ends of two batches in the middle of the run; batches before
  /// `first` are written out.
  GridRow row(TrailingUpdates rule, int first, int middle) const {
    GridRow row;
    const int m = grid_->shape.micro_batches;
    const std::size_t begin = end_of(middle - 1, rule);
    const std::size_t end = end_of(middle, rule);
    for (std::size_t i = begin; i < end; ++i) {
      if (is_step(actions_[i])) row.repeated.push_back(as_step(actions_[i], middle - first, m));
    }
    // Of what comes before the end of batch `first`, the repetition does the last part itself.
    std::vector<Step> start;
    const std::size_t started = end_of(first, rule);
    for (std::size_t i = 0; i < started; ++i) {
      if (is_step(actions_[i])) start.push_back(as_step(actions_[i], 0, m));
    }
    std::size_t kept = start.size();
    for (auto step = row.repeated.rbegin(); step != row.repeated.rend(); ++step) {
      const bool exists = step->number >= 0;
      if (exists && kept > 0 && start[kept - 1] == *step) --kept;
    }
    row.once.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(kept));
    return row;
  }

  const Schedule& schedule_;
  std::shared_ptr<Grid> grid_;
  const int stage_;
  int apart_ = 0;
  std::vector<Action> actions_;
};

}  // namespace

Grid find_grid(const Schedule& schedule, PipelineShape shape) {
  check_shape(schedule, shape);
  const auto grid = std::make_shared<Grid>();
  grid->source = schedule.name;
  grid->summary = schedule.summary;
  grid->shape = shape;
  grid->placement = schedule.placement;
  grid->stashes_weights = schedule.stashes_weights;
  grid->updates_together = schedule.updates_together;
  grid->reductions = schedule.reductions(shape);
  grid->rows.resize(static_cast<std::size_t>(shape.stages));
  for (int s = 0; s < shape.stages; ++s) grid->limits.push_back(schedule.limits(s, shape));
  for (int s = 0; s < shape.stages; ++s) RowFinder(schedule, grid, s).find();
  return *grid;
}

}  // namespace penstock::schedule
