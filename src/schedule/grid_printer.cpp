#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "schedule/grid_file.h"
#include "schedule/grid_finder.h"
#include "schedule/grid_text.h"

namespace penstock::schedule {
namespace {

using namespace grid_text;

/// "key value", or one value per stage where they differ; nothing if all are the default.
template <class Value, class Default>
std::string limits_line(const Grid& grid, std::string_view key, Value value, Default by_default) {
  std::vector<std::string> values;
  bool needed = false;
  for (std::size_t s = 0; s < grid.limits.size(); ++s) {
    values.push_back(value(grid.limits[s]));
    needed |= values.back() != by_default(s);
  }
  if (!needed) return "";
  const bool same = std::ranges::all_of(values, [&](const auto& v) { return v == values[0]; });
  if (same) values.resize(1);
  return fmt::format("{} {}\n", key, fmt::join(values, " "));
}

std::string delay_text(const StageLimits& limits) {
  if (limits.least_delay == limits.most_delay) return std::to_string(limits.most_delay);
  return fmt::format("{}..{}", limits.least_delay, limits.most_delay);
}

std::string header_of(const Grid& grid) {
  std::string text;
  if (!grid.summary.empty()) text += fmt::format("summary {}\n", grid.summary);
  text += fmt::format("stages {}\nmicro_batches {}\n", grid.shape.stages, grid.shape.micro_batches);
  if (grid.shape.chunks != 1) text += fmt::format("chunks {}\n", grid.shape.chunks);
  if (grid.placement == Placement::v) text += "placement v\n";
  if (!grid.stashes_weights) text += "backward newest\n";
  if (!grid.updates_together) text += "updates alone\n";
  const auto from_delay = [&](std::size_t s) { return grid.limits[s].most_delay + 1; };
  text += limits_line(grid, "delay", delay_text, [](std::size_t) { return "0"; });
  text += limits_line(
      grid, "versions", [](const StageLimits& l) { return std::to_string(l.versions); },
      [&](std::size_t s) { return std::to_string(grid.stashes_weights ? from_delay(s) : 1); });
  text += limits_line(
      grid, "gradient_buffers",
      [](const StageLimits& l) { return std::to_string(l.gradient_buffers); },
      [&](std::size_t s) { return std::to_string(grid.updates_together ? from_delay(s) : 1); });
  text += limits_line(
      grid, "in_flight", [](const StageLimits& l) { return std::to_string(l.in_flight); },
      [&](std::size_t s) { return std::to_string(check_row(grid, static_cast<int>(s))); });
  if (grid.collect_after && *grid.collect_after != default_collect_after(grid)) {
    text += fmt::format("collect_after {}\n", *grid.collect_after);
  }
  if (grid.reductions && *grid.reductions != default_reductions(grid)) {
    text += fmt::format("reductions {}\n", *grid.reductions);
  }
  return text;
}

std::vector<std::size_t> widths(const Grid& grid, std::vector<Step> GridRow::*part) {
  std::vector<std::size_t> widths;
  for (const GridRow& row : grid.rows) {
    const auto& steps = row.*part;
    widths.resize(std::max(widths.size(), steps.size()));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      widths[i] = std::max(widths[i], to_text(steps[i]).size());
    }
  }
  return widths;
}

std::string cells(const std::vector<Step>& steps, const std::vector<std::size_t>& widths) {
  std::string text;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    text += fmt::format(" {:<{}}", i < steps.size() ? to_text(steps[i]) : "", widths[i]);
  }
  return text;
}

std::string text_of(const Grid& grid) {
  std::string text = header_of(grid);
  const auto once = widths(grid, &GridRow::once);
  const auto repeated = widths(grid, &GridRow::repeated);
  const std::size_t digits = std::to_string(grid.rows.size() - 1).size();
  for (std::size_t s = 0; s < grid.rows.size(); ++s) {
    std::string line = fmt::format("stage {:>{}}:", s, digits);
    line += cells(grid.rows[s].once, once);
    if (!once.empty()) line += " |";
    line += cells(grid.rows[s].repeated, repeated);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

// What can be read back.

void check_most(std::int64_t value, std::int64_t most, std::string_view what) {
  if (value <= most) return;
  throw user_error("schedule", "a grid file has at most {} {}, but here are {}; set fewer", most,
                   what, value);
}

void check_bytes(std::uintmax_t bytes) {
  if (bytes <= most_bytes) return;
  throw user_error("schedule",
                   "a grid file has at most {} MiB, but this one would have {} or more; set fewer "
                   "stages, micro-batches or chunks",
                   most_bytes >> 20, (bytes >> 20) + 1);
}

/// Before the grid is made.
void check_size(PipelineShape shape) {
  check_most(shape.stages, most_stages, "stages");
  check_most(shape.micro_batches, most_micro_batches, "micro-batches per batch");
  check_most(shape.chunks, most_chunks, "chunks per stage");
  std::uintmax_t forwards = 0;  // of one piece of the model; backwards are as many
  for (int j = 0; j < shape.micro_batches; ++j) {
    forwards += 1 + to_text({ActionKind::forward, j, 0}).size();
  }
  check_bytes(2 * forwards * static_cast<std::uintmax_t>(shape.pieces()));
}

/// Stages that start with several batches count on into them.
void check_numbers(const Grid& grid) {
  for (const GridRow& row : grid.rows) {
    for (const auto* steps : {&row.once, &row.repeated}) {
      for (const Step& step : *steps) {
        if (std::abs(step.number) <= largest_step_number) continue;
        throw user_error("schedule",
                         "the numbers of a grid's steps go up to {}, but with {} micro-batches per "
                         "batch one is {}; set fewer",
                         largest_step_number, grid.shape.micro_batches, to_text(step));
      }
    }
  }
}

}  // namespace

std::string to_grid(const Schedule& schedule, PipelineShape shape) {
  check_shape(schedule, shape);
  check_size(shape);
  const Grid grid = find_grid(schedule, shape);
  check_numbers(grid);
  std::string text = text_of(grid);
  check_bytes(text.size());
  return text;
}

}  // namespace penstock::schedule
