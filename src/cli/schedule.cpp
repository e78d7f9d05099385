// penstock schedule: a schedule as a picture.

#include "schedule/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/picture_options.h"
#include "cli/shape_options.h"
#include "schedule/grid_file.h"
#include "schedule/validate.h"
#include "simulate/cost_options.h"
#include "simulate/measured_costs.h"
#include "simulate/simulate.h"
#include "timeline/trace_file.h"
#include "timeline/trace_summary.h"
#include "timeline/usage_text.h"

namespace penstock::cli {
namespace {

using schedule::PipelineShape;
using timeline::BatchRange;

// More spans than anybody looks at, and as many as fit in memory.
constexpr std::int64_t most_cells = 2'000'000;

struct Options {
  std::string schedule;
  ShapeOptions shape;  // what is missing: as the measured trace or the grid file says
  std::int64_t batches = 3;
  double from = 0;
  simulate::CostOptions costs;
  PictureOptions picture;
  std::string trace;
  std::string measured;
  bool grid = false;
  bool json = false;
};

struct Plan {
  schedule::Schedule schedule;
  PipelineShape shape;
  simulate::Costs costs;
  bool unit_costs = false;
  timeline::Timeline timeline;  // of the batches that are drawn
  simulate::Result result;      // of a run long enough to be steady
};

void check_measured(std::optional<int> given, int measured, const char* flag) {
  if (!given || *given == measured) return;
  throw user_error("schedule", "{} is {}, but the measured trace has {}; leave {} out", flag,
                   *given, measured, flag);
}

/// A grid file is the same schedule where it has the same path.
void check_measured_schedule(const Options& options, const timeline::Trace& measured) {
  const std::string& schedule = measured.header.schedule;
  if (schedule == options.schedule) return;
  throw user_error(
      "schedule",
      "the run in '{}' was of the schedule '{}', not of '{}'; write 'penstock schedule "
      "{} --measured {}', or name a trace of a run of '{}'",
      options.measured, schedule, options.schedule, schedule, options.measured, options.schedule);
}

PipelineShape measured_shape(const ShapeOptions& options, const timeline::Trace& measured) {
  const PipelineShape shape = measured.header.shape;
  check_measured(options.stages, shape.stages, "--stages");
  check_measured(options.micro_batches, shape.micro_batches, "--micro-batches");
  check_measured(options.chunks, shape.chunks, "--chunks");
  return shape;
}

void check_size(PipelineShape shape, std::int64_t batches) {
  if (batches < 1) {
    throw user_error("schedule", "--batches must be at least 1, but it is {}; set --batches 3",
                     batches);
  }
  constexpr int most_stages = 4096;
  if (shape.stages > most_stages) {
    throw user_error("schedule",
                     "--stages is {}, but at most {} fit a picture; set fewer, or use 'penstock "
                     "simulate'",
                     shape.stages, most_stages);
  }
  const double cells = 3.0 * shape.pieces() * shape.micro_batches * static_cast<double>(batches);
  if (cells <= static_cast<double>(most_cells)) return;
  throw user_error("schedule",
                   "{} stages, {} micro-batches and {} batches are too many cells for a picture "
                   "({:.0f}, at most {}); draw fewer batches, or use 'penstock simulate'",
                   shape.stages, shape.micro_batches, batches, cells, most_cells);
}

/// Batches until every cost of filling and draining has left the steady window.
std::int64_t steady_run(PipelineShape shape) {
  return 8 + 4 * ((shape.stages + shape.micro_batches - 1) / shape.micro_batches);
}

simulate::Costs costs_of(const Options& options, PipelineShape shape,
                         const timeline::Trace* measured, BatchRange steady) {
  if (!measured) return simulate::make_costs(options.costs, shape);
  return simulate::measured_costs(
      measured->timeline,
      {.first_batch = steady.first, .last_batch = steady.last, .most_samples = 0});
}

simulate::Result run_plan(const Plan& plan, std::int64_t batches, bool record) {
  simulate::Request request;
  request.schedule = &plan.schedule;
  request.shape = plan.shape;
  request.costs = &plan.costs;
  request.batches = batches;
  request.record = record;
  auto result = simulate::simulate(request);
  if (result.stuck.empty()) return result;
  throw user_error("schedule", "'{}' comes to a stop: {}; mend the schedule", plan.schedule.name,
                   result.stuck.front());
}

/// `count` batches in the middle of a range.
BatchRange middle(BatchRange range, std::int64_t count) {
  const std::int64_t all = range.last - range.first + 1;
  const std::int64_t first = range.first + std::max<std::int64_t>(0, (all - count) / 2);
  return {first, std::min(range.last, first + count - 1)};
}

std::string shape_text(const Plan& plan) {
  return timeline::shape_text(plan.schedule.name, plan.shape);
}

timeline::Panel panel(std::string title, const timeline::Timeline& timeline,
                      timeline::Interval interval, double from) {
  if (interval.begin >= interval.end) {
    throw user_error("schedule", "all costs are 0, so there is nothing to draw; set --forward 1");
  }
  if (interval.begin + from >= interval.end) {
    throw user_error("schedule",
                     "--from {} is behind the end of the picture at {}; set a smaller "
                     "one",
                     from, interval.end - interval.begin);
  }
  return {std::move(title), &timeline, interval.begin + from, interval.end};
}

timeline::Picture picture_of(const Options& options, const Plan& plan) {
  timeline::Picture picture;
  picture.axis = plan.unit_costs ? timeline::Axis::plain : timeline::Axis::seconds;
  picture.slot = timeline::slot_of(plan.timeline);
  picture.panels.push_back(
      panel(shape_text(plan), plan.timeline, {0, timeline::end_of(plan.timeline)}, options.from));
  return picture;
}

/// The same batches planned and measured. Where the measured ones are late in a long run, the plan
/// shows early ones with the same parity of versions: from then on all batches look alike.
timeline::Picture comparison(const Options& options, const Plan& plan,
                             const timeline::Trace& measured, BatchRange measured_batches,
                             BatchRange planned_batches) {
  timeline::Picture picture;
  picture.axis = timeline::Axis::seconds;
  picture.slot = timeline::slot_of(plan.timeline);
  picture.panels.push_back(
      panel(fmt::format("planned: {}, measured mean costs", shape_text(plan)), plan.timeline,
            interval_of(plan.timeline, planned_batches.first, planned_batches.last), options.from));
  picture.panels.push_back(panel(
      fmt::format("measured: {}, batches {} to {}", options.measured, measured_batches.first,
                  measured_batches.last),
      measured.timeline,
      interval_of(measured.timeline, measured_batches.first, measured_batches.last), options.from));
  return picture;
}

struct Row {
  std::string versions;
  std::string activations;
  std::string buffers;
  std::string delay;
  std::string bubble;

  friend bool operator==(const Row&, const Row&) = default;
};

Row row_of(const Plan& plan, int stage) {
  const auto limits = plan.schedule.limits(stage, plan.shape);
  const auto& result = plan.result.stages[static_cast<std::size_t>(stage)];
  const std::string delay = limits.least_delay == limits.most_delay
                                ? fmt::format("{}", limits.most_delay)
                                : fmt::format("{}..{}", limits.least_delay, limits.most_delay);
  return {fmt::format("{}", limits.versions), fmt::format("{}", limits.in_flight),
          fmt::format("{}", limits.gradient_buffers), delay,
          fmt::format("{:.1f} %", 100 * result.bubble_fraction)};
}

/// One line per stage; neighbours that are alike share one.
std::string table(const Plan& plan) {
  std::string text = "stages    weight versions  activations  gradient buffers  delay  bubble\n";
  for (int first = 0; first < plan.shape.stages;) {
    const Row row = row_of(plan, first);
    int last = first;
    while (last + 1 < plan.shape.stages && row_of(plan, last + 1) == row) ++last;
    const std::string name =
        first == last ? fmt::format("{}", first) : fmt::format("{} to {}", first, last);
    text += fmt::format("{:<10}{:>15}{:>13}{:>18}{:>7}{:>8}\n", name, row.versions, row.activations,
                        row.buffers, row.delay, row.bubble);
    first = last + 1;
  }
  return text;
}

std::string time_text(const Plan& plan, double seconds) {
  return plan.unit_costs ? fmt::format("{:.6g}", seconds) : timeline::seconds_text(seconds);
}

std::string summary(const Plan& plan) {
  return fmt::format("step time {}, bubble {:.1f} % in the steady state\n",
                     time_text(plan, plan.result.step_time), 100 * plan.result.bubble_fraction);
}

std::string measured_text(const timeline::TraceSummary& measured) {
  return fmt::format("measured:  {} (median {}), bubble {:.1f} %, batches {} to {}\n",
                     timeline::seconds_text(measured.step.mean),
                     timeline::seconds_text(measured.step.p50), 100 * measured.bubble_fraction,
                     measured.batches.first, measured.batches.last);
}

nlohmann::ordered_json per_stage_json(const Plan& plan) {
  auto list = nlohmann::ordered_json::array();
  for (int s = 0; s < plan.shape.stages; ++s) {
    const auto limits = plan.schedule.limits(s, plan.shape);
    const auto& result = plan.result.stages[static_cast<std::size_t>(s)];
    auto stage = timeline::stage_json(result.usage, result.bubble_fraction);
    stage["peak_in_flight"] = result.peak_in_flight;
    stage["least_delay"] = limits.least_delay;
    stage["most_delay"] = limits.most_delay;
    stage["weight_versions"] = limits.versions;
    stage["activations"] = limits.in_flight;
    stage["gradient_buffers"] = limits.gradient_buffers;
    list.push_back(std::move(stage));
  }
  return list;
}

nlohmann::ordered_json cells_json(const Plan& plan) {
  auto list = nlohmann::ordered_json::array();
  for (std::size_t s = 0; s < plan.timeline.stages.size(); ++s) {
    for (const auto& span : plan.timeline.stages[s]) {
      const auto& action = span.action;
      if (is_waiting(action.kind)) continue;
      list.push_back({{"stage", s},
                      {"action", schedule::name(action.kind)},
                      {"batch", action.batch},
                      {"micro_batch", action.micro_batch},
                      {"version", action.version},
                      {"chunk", action.chunk},
                      {"begin", span.begin},
                      {"end", span.end}});
    }
  }
  return list;
}

std::string json(const Options& options, const Plan& plan,
                 const std::optional<timeline::TraceSummary>& measured) {
  nlohmann::ordered_json object = {{"schedule", plan.schedule.name},
                                   {"stages", plan.shape.stages},
                                   {"micro_batches", plan.shape.micro_batches},
                                   {"chunks", plan.shape.chunks},
                                   {"batches", options.batches},
                                   {"step_time", plan.result.step_time},
                                   {"bubble_fraction", plan.result.bubble_fraction},
                                   {"per_stage", per_stage_json(plan)},
                                   {"cells", cells_json(plan)}};
  if (measured) {
    object["measured_step_time"] = measured->step.mean;
    object["measured_bubble_fraction"] = measured->bubble_fraction;
  }
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string write_planned_trace(const Options& options, const Plan& plan) {
  if (options.trace.empty()) return "";
  auto header = timeline::header_of(plan.timeline);
  header.planned = true;
  timeline::write_trace(options.trace, plan.timeline, header);
  return fmt::format("Wrote {}\n", options.trace);
}

void run(const Options& options) {
  std::optional<timeline::Trace> measured;
  std::optional<timeline::TraceSummary> recorded;
  if (!options.measured.empty()) {
    measured = timeline::read_trace(options.measured);
    recorded = timeline::summarize(measured->timeline);
  }
  const timeline::Trace* trace = measured ? &*measured : nullptr;
  Plan plan;
  plan.schedule = schedule::load(options.schedule);
  if (trace) check_measured_schedule(options, *trace);
  plan.shape = trace ? measured_shape(options.shape, *trace)
                     : shape_of("schedule", options.shape, plan.schedule);
  schedule::check_shape(plan.schedule, plan.shape);
  if (options.grid) {
    std::cout << schedule::to_grid(plan.schedule, plan.shape);
    return;
  }
  check_size(plan.shape, options.batches);
  schedule::require_valid(plan.schedule, plan.shape);
  const BatchRange steady = recorded ? recorded->batches : BatchRange{};
  plan.costs = costs_of(options, plan.shape, trace, steady);
  plan.unit_costs = !measured && options.costs.file.empty();
  plan.result = run_plan(plan, std::max(options.batches, steady_run(plan.shape)), false);

  const BatchRange shown = middle(steady, options.batches);
  BatchRange planned{0, options.batches - 1};
  if (measured) {
    planned.first = std::min(shown.first, steady_run(plan.shape) + shown.first % 2);
    planned.last = planned.first + shown.last - shown.first;
    check_size(plan.shape, planned.last + 1);
  }
  // Pictures of a comparison end before the plan drains.
  const std::int64_t more = measured ? steady_run(plan.shape) : 0;
  plan.timeline = *run_plan(plan, planned.last + 1 + more, true).timeline;
  const auto picture =
      measured ? comparison(options, plan, *measured, shown, planned) : picture_of(options, plan);
  std::cout << to_text(picture, options.picture) << '\n' << summary(plan);
  if (recorded) std::cout << measured_text(*recorded);
  std::cout << table(plan) << write_files(picture, options.picture, shape_text(plan))
            << write_planned_trace(options, plan);
  if (options.json) std::cout << json(options, plan, recorded) << '\n';
}

void add_costs(CLI::App& command, simulate::CostOptions& costs) {
  const std::string group = "Costs";
  const auto add = [&](const char* flag, std::optional<double>& value, const char* text) {
    command.add_option(flag, value, text)->group(group);
  };
  add("--forward", costs.forward, "F of one micro-batch on a stage; 1.");
  add("--backward", costs.backward, "B; 2.");
  add("--dx", costs.backward_input,
      "dX, the part of B that the stage before waits for; half of B.");
  add("--dw", costs.backward_weight, "dW, the rest of B; half of B.");
  add("--update", costs.update, "Update of a stage's weights; 0.");
  add("--latency", costs.latency, "From sending a message to its arrival; 0.");
  command
      .add_option("--costs", costs.file,
                  "TOML or JSON with costs per stage in seconds, as for 'penstock simulate'.")
      ->group(group);
}

}  // namespace

void add_schedule_command(CLI::App& root) {
  auto* command = root.add_subcommand("schedule", "Draw a schedule as a grid of stages and time.");
  const auto options = std::make_shared<Options>();
  command
      ->add_option("schedule", options->schedule,
                   "Name of a schedule, or of a file FILE.grid with one.")
      ->required();
  command->add_option("--stages", options->shape.stages,
                      "Stages of the pipeline; a grid file has its own.");
  command->add_option("--micro-batches", options->shape.micro_batches, "Micro-batches of a batch.");
  command->add_option("--chunks", options->shape.chunks,
                      "Pieces of the model on each stage; the schedule's own number by default.");
  command->add_option("--batches", options->batches, "Batches to draw.")->capture_default_str();
  command->add_option("--from", options->from, "Leave out what comes before this time.")
      ->check(CLI::NonNegativeNumber);
  add_costs(*command, options->costs);
  add_picture_options(*command, options->picture);
  auto* measured = command->add_option(
      "--measured", options->measured,
      "Draw batches of this recorded run below the same ones as planned with its mean costs.");
  command->add_option("--trace", options->trace,
                      "Write the plan to this file for ui.perfetto.dev or chrome://tracing.");
  auto* grid =
      command->add_flag("--grid", options->grid,
                        "Print the schedule as a grid file instead, to be edited and drawn again.");
  command->add_flag("--json", options->json, "Print all cells as one JSON object at the end.");
  for (const char* flag :
       {"--forward", "--backward", "--dx", "--dw", "--update", "--latency", "--costs"}) {
    measured->excludes(flag);
    grid->excludes(flag);
  }
  for (const char* flag : {"--batches", "--from", "--narrow", "--width", "--svg", "--html",
                           "--measured", "--trace", "--json"}) {
    grid->excludes(flag);
  }
  command->footer(
      "Cells are F (forward), B (backward) or its halves X (dX) and W (dW), and U (update), with "
      "the number of the micro-batch within its batch.\n"
      "Example: penstock schedule 2bw --stages 4 --micro-batches 8 --svg 2bw.svg");
  command->callback([options] { run(*options); });
}

}  // namespace penstock::cli
