#pragma once
// A schedule as rows of steps that repeat with every batch; grid_file.h reads and writes it.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "schedule/schedule.h"

namespace penstock::schedule {

/// One word of a row. Numbers count from the batch of the repetition: F1 is the forward of its
/// micro-batch 1; with two micro-batches per batch, F2 is micro-batch 0 of the next batch and F-1
/// micro-batch 1 of the one before. U-1 is the update from the batch before.
struct Step {
  ActionKind kind = ActionKind::forward;  // forward, backward, backward_input/_weight or update
  int number = 0;                         // micro-batch; batch of an update
  int chunk = 0;

  friend bool operator==(const Step&, const Step&) = default;
};

constexpr int largest_step_number = 10'000;  // either sign

/// "F1", "X-2'1" (on chunk 1), "U-1", "U".
std::string to_text(const Step& step);

/// One stage: `once` at the start of the run, then `repeated` for the batches 0, 1, 2, ... until
/// nothing is left to do. Steps of batches that do not exist, before the first or behind the last,
/// are left out.
struct GridRow {
  int line = 0;  // in the file, from 1
  std::vector<Step> once;
  std::vector<Step> repeated;
};

struct Grid {
  std::string source;  // the file's name, for messages
  std::string summary;
  PipelineShape shape;
  Placement placement = Placement::loop;
  bool stashes_weights = true;
  bool updates_together = true;
  std::optional<int> collect_after;  // default_collect_after(); unused where updates are together
  std::optional<int> reductions;     // default_reductions()
  std::vector<StageLimits> limits;   // of each stage
  std::vector<GridRow> rows;         // of each stage
};

/// What a row alone can tell: each micro-batch is forward and backward once on each chunk, and
/// updates are in order; F comes before B or X, X before W, the last of a batch before its U, and
/// batches end in order. Errors: UserError naming the line and the step. Returns the most chunk
/// activations that the row keeps.
int check_row(const Grid& grid, int stage);

/// Where stages update alone, a batch's sums are only reported. A stage waits for those of batch b
/// after its batch b + collect_after - 1; by default that is when the stage which keeps most
/// activations, and so is furthest behind, has contributed.
int default_collect_after(const Grid& grid);

/// Two, or as many as the updates' delay asks for; where stages update alone, collect_after and the
/// batches that the fastest stage may be further by then.
int default_reductions(const Grid& grid);

/// The compute actions of a stage, for a checked row.
///   F reads the newest version on its stage; B and X the same as their F, or the newest one if the
///   grid does not stash weights.
///   The batch's contribute follows its last B or W; await_reduction comes right before the update
///   or, where stages update alone, as collect_after says.
///   An update directly before an F in the row is made for that F: where the run ends before that
///   F, the update comes at the very end (but at once if a B could see the difference, that is,
///   without stashed weights, and where stages update alone).
ActionStream grid_actions(std::shared_ptr<const Grid> grid, int stage, HasBatch has_batch);

/// The grid as a schedule for exactly its own shape.
Schedule grid_schedule(Grid grid);

}  // namespace penstock::schedule
