#pragma once
// Schedules as text that people can write. Two stages of 2bw with two micro-batches per batch:
//
//   delay 1
//   stage 0: F0 | F1  B0 U-1 F2 B1
//   stage 1:    | U-2 F0 B0  F1 B1
//
// A row per stage. What stands left of '|' is done once, the rest is repeated for every batch,
// with numbers counted from that batch (grid_rows.h says what a row means); without '|' the whole
// row is repeated. F forward, B backward or its halves X (dX) and W (dW), U update, F1'2 on chunk
// 2; '.' does nothing and helps to align columns. '#' starts a comment. Lines before or between
// the rows set what is not the default:
//
//   stages, micro_batches, chunks N   follow from the rows, and are checked where given
//   placement loop|v                  loop
//   backward stashed|newest           stashed: B reads the weights that its F read
//   updates together|alone            together: U waits for every stage's share of the batch
//   delay N or N..M                   0: least and most updates between a gradient and its weights
//   versions N                        most delay + 1; 1 where B reads the newest
//   gradient_buffers N                most delay + 1; 1 where updates are alone
//   in_flight N                       what the row keeps
//   collect_after N, reductions N     from the rows, see grid_rows.h
//   summary TEXT
//
// delay, versions, gradient_buffers and in_flight take one value, or one per stage.

#include <string>
#include <string_view>

#include "schedule/schedule.h"

namespace penstock::schedule {

/// Names of grid files end with this; no schedule's name does.
inline constexpr std::string_view grid_suffix = ".grid";

/// A schedule for exactly the grid's shape, named `source`. Errors: UserError "[source:line] ..."
/// for what a row alone can tell; whether the rows fit together is the validator's question.
Schedule parse_grid(std::string_view text, std::string_view source);

/// The schedule in this shape as such a text; parse_grid gives the same actions and limits again.
/// Errors: UserError for a shape with complaint, for one that parse_grid or load would find too
/// large, or if the schedule does not repeat from batch to batch.
std::string to_grid(const Schedule& schedule, PipelineShape shape);

/// The schedule of this name, or the grid in this file if the name ends with grid_suffix.
/// Errors: UserError for an unknown name, a file that cannot be read, and those of parse_grid.
Schedule load(std::string_view name_or_path);

}  // namespace penstock::schedule
