// penstock trace: a recorded run in numbers and as a picture, without a browser.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/picture_options.h"
#include "simulate/cost_file.h"
#include "simulate/measured_costs.h"
#include "timeline/trace_file.h"
#include "timeline/trace_summary.h"
#include "timeline/usage_text.h"

namespace penstock::cli {
namespace {

using timeline::BatchRange;
using timeline::Cause;
using timeline::Durations;
using timeline::TraceSummary;
using timeline::Usage;
using Json = nlohmann::ordered_json;

constexpr std::int64_t batches_drawn = 3;
constexpr std::size_t bar_width = 30;

struct Options {
  std::string file;
  std::string batches;
  std::string costs;
  double from = 0;
  PictureOptions picture;
  bool json = false;
};

std::optional<BatchRange> parse_batches(const std::string& text) {
  if (text.empty()) return std::nullopt;
  BatchRange range;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, range.first);
  const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
  const auto last = colon ? std::from_chars(first.ptr + 1, end, range.last) : first;
  if (colon && last.ec == std::errc() && last.ptr == end && range.first <= range.last) {
    return range;
  }
  throw user_error("command line",
                   "--batches '{}' is no range of batches; write FIRST:LAST, such as 4:7", text);
}

double percent(double seconds, const Usage& usage) {
  const double all = usage.seconds();
  return all > 0 ? 100 * seconds / all : 0;
}

struct Row {
  std::string stages;
  timeline::StageSummary summary;
};

/// Beyond 32 stages, neighbours share a row.
std::vector<Row> rows_of(const TraceSummary& summary) {
  std::vector<Row> rows;
  for (const auto& group : timeline::stage_groups(static_cast<int>(summary.stages.size()))) {
    const auto first = static_cast<std::size_t>(group.first);
    const auto count = static_cast<std::size_t>(group.last - group.first + 1);
    rows.push_back({group.name(), together(std::span(summary.stages).subspan(first, count))});
  }
  return rows;
}

std::string usage_table(const TraceSummary& summary, bool colour) {
  std::string text = fmt::format("{:<10}{:<{}}", "stage", "where the time went, in %", bar_width);
  for (const Cause& cause : timeline::causes) text += fmt::format("{:>8}", cause.head);
  text += fmt::format("{:>8}\n", "bubble");
  for (const Row& row : rows_of(summary)) {
    const Usage& usage = row.summary.usage;
    text += fmt::format("{:<10}{}", row.stages, timeline::bar(usage, bar_width, colour));
    for (const Cause& cause : timeline::causes) {
      text += fmt::format("{:>8.1f}", percent(usage.*cause.seconds, usage));
    }
    text += fmt::format("{:>8.1f}\n", percent(usage.bubble(), usage));
  }
  return text + fmt::format("in the bar: {}\n", timeline::bar_legend());
}

std::string pair_text(const Durations& durations) {
  if (durations.count == 0) return "-";
  return fmt::format("{} / {}", timeline::seconds_text(durations.mean),
                     timeline::seconds_text(durations.p95));
}

struct Column {
  std::string_view head;
  Durations timeline::ChunkSummary::*durations;
};
constexpr std::array<Column, 4> columns{{{"F", &timeline::ChunkSummary::forward},
                                         {"B", &timeline::ChunkSummary::backward},
                                         {"dX", &timeline::ChunkSummary::backward_input},
                                         {"dW", &timeline::ChunkSummary::backward_weight}}};

bool occurs(const TraceSummary& summary, const Column& column) {
  return std::any_of(summary.stages.begin(), summary.stages.end(), [&](const auto& stage) {
    return std::any_of(stage.chunks.begin(), stage.chunks.end(),
                       [&](const auto& chunk) { return (chunk.*column.durations).count > 0; });
  });
}

std::string durations_table(const TraceSummary& summary) {
  const bool chunked = summary.stages.front().chunks.size() > 1;
  std::string text = fmt::format("{:<10}{}", "stage", chunked ? "chunk  " : "");
  for (const Column& column : columns) {
    if (occurs(summary, column)) text += fmt::format("{:<22}", column.head);
  }
  text += fmt::format("{:<22}{:<22}{}\n", "update", "reduction's share", "delay");
  for (const auto& [stages, stage] : rows_of(summary)) {
    for (std::size_t c = 0; c < stage.chunks.size(); ++c) {
      text += fmt::format("{:<10}", c == 0 ? stages : "");
      if (chunked) text += fmt::format("{:<7}", c);
      for (const Column& column : columns) {
        if (!occurs(summary, column)) continue;
        text += fmt::format("{:<22}", pair_text(stage.chunks[c].*column.durations));
      }
      if (c == 0) {
        text += fmt::format("{:<22}{:<22}", pair_text(stage.update), pair_text(stage.contribute));
        text += stage.least_delay == stage.most_delay
                    ? fmt::format("{}", stage.most_delay)
                    : fmt::format("{}..{}", stage.least_delay, stage.most_delay);
      }
      text += '\n';
    }
  }
  return text +
         "mean / 95th percentile (of several stages the largest); delay: updates that a batch's "
         "forwards had not seen\n";
}

std::string head(const Options& options, const timeline::Trace& trace,
                 const TraceSummary& summary) {
  std::string text =
      fmt::format("{}: {} {}\n", options.file, trace.header.planned ? "planned" : "measured",
                  timeline::shape_text(trace.header.schedule, trace.header.shape));
  for (const auto& [key, value] : trace.header.notes) text += fmt::format("  {}: {}\n", key, value);
  text += fmt::format("batches {} to {} of {} to {}{}\n", summary.batches.first,
                      summary.batches.last, summary.recorded.first, summary.recorded.last,
                      summary.steady ? ""
                                     : "; too few to leave out how the pipeline fills and "
                                       "drains");
  if (trace.left_out > 0) {
    text += fmt::format("recording stopped at its limit: {} spans are left out\n", trace.left_out);
  }
  return text + fmt::format("step time {} (median {}, 95th percentile {}), bubble {:.2f} %\n",
                            timeline::seconds_text(summary.step.mean),
                            timeline::seconds_text(summary.step.p50),
                            timeline::seconds_text(summary.step.p95),
                            100 * summary.bubble_fraction);
}

timeline::Picture picture_of(const Options& options, const timeline::Trace& trace,
                             const TraceSummary& summary) {
  BatchRange shown = summary.batches;
  if (options.batches.empty()) {
    const std::int64_t all = shown.last - shown.first + 1;
    shown.first += std::max<std::int64_t>(0, (all - batches_drawn) / 2);
    shown.last = std::min(shown.last, shown.first + batches_drawn - 1);
  }
  const auto interval = interval_of(trace.timeline, shown.first, shown.last);
  if (interval.begin + options.from >= interval.end) {
    throw user_error("trace", "--from {} is behind the end of the picture at {}; set a smaller one",
                     options.from, interval.end - interval.begin);
  }
  timeline::Picture picture;
  picture.axis = timeline::Axis::seconds;
  picture.slot = timeline::slot_of(trace.timeline);
  picture.panels.push_back(
      {fmt::format("{}, batches {} to {}", trace.header.schedule, shown.first, shown.last),
       &trace.timeline, interval.begin + options.from, interval.end});
  return picture;
}

Json to_json(const Durations& durations) {
  return {{"count", durations.count},
          {"mean", durations.mean},
          {"p50", durations.p50},
          {"p95", durations.p95}};
}

Json to_json(const timeline::StageSummary& stage) {
  Json object = timeline::stage_json(stage.usage, stage.bubble_fraction);
  object["least_delay"] = stage.least_delay;
  object["most_delay"] = stage.most_delay;
  object["chunks"] = Json::array();
  for (const auto& chunk : stage.chunks) {
    object["chunks"].push_back({{"forward", to_json(chunk.forward)},
                                {"backward", to_json(chunk.backward)},
                                {"backward_input", to_json(chunk.backward_input)},
                                {"backward_weight", to_json(chunk.backward_weight)}});
  }
  object["contribute"] = to_json(stage.contribute);
  object["update"] = to_json(stage.update);
  return object;
}

Json to_json(const timeline::Trace& trace, const TraceSummary& summary) {
  Json object = {{"schedule", trace.header.schedule},
                 {"stages", trace.header.shape.stages},
                 {"micro_batches", trace.header.shape.micro_batches},
                 {"chunks", trace.header.shape.chunks},
                 {"planned", trace.header.planned},
                 {"notes", trace.header.notes},
                 {"spans_left_out", trace.left_out},
                 {"recorded_batches", {summary.recorded.first, summary.recorded.last}},
                 {"batches", {summary.batches.first, summary.batches.last}},
                 {"steady", summary.steady},
                 {"from", summary.from},
                 {"to", summary.to},
                 {"step_time", summary.step.mean},
                 {"step", to_json(summary.step)},
                 {"bubble_fraction", summary.bubble_fraction},
                 {"per_stage", Json::array()}};
  for (const auto& stage : summary.stages) object["per_stage"].push_back(to_json(stage));
  return object;
}

double message_bytes(const timeline::Trace& trace) {
  const auto note = trace.header.notes.find("message_bytes");
  double bytes = 0;
  if (note == trace.header.notes.end()) return bytes;
  const std::string& text = note->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && bytes >= 0 ? bytes : 0;
}

std::string write_costs(const Options& options, const timeline::Trace& trace,
                        const TraceSummary& summary) {
  if (options.costs.empty()) return "";
  const auto costs =
      simulate::measured_costs(trace.timeline, {.first_batch = summary.batches.first,
                                                .last_batch = summary.batches.last,
                                                .message_bytes = message_bytes(trace)});
  write_file_atomically(options.costs, simulate::to_json(costs));
  return fmt::format("Wrote {}\n", options.costs);
}

void run(const Options& options) {
  const auto batches = parse_batches(options.batches);
  const timeline::Trace trace = timeline::read_trace(options.file);
  const TraceSummary summary = timeline::summarize(trace.timeline, batches);
  const auto picture = picture_of(options, trace, summary);
  std::cout << head(options, trace, summary) << '\n'
            << usage_table(summary, use_colour(options.picture)) << '\n'
            << durations_table(summary) << '\n'
            << to_text(picture, options.picture)
            << write_files(picture, options.picture, options.file)
            << write_costs(options, trace, summary);
  if (options.json) {
    std::cout << to_json(trace, summary).dump(-1, ' ', false, Json::error_handler_t::replace)
              << '\n';
  }
}

}  // namespace

void add_trace_command(CLI::App& root) {
  auto* command =
      root.add_subcommand("trace", "Summarise a recorded run: where each stage's time went.");
  const auto options = std::make_shared<Options>();
  command->add_option("file", options->file, "Trace of 'penstock train --trace'.")->required();
  command->add_option("--batches", options->batches,
                      "Summarise batches FIRST:LAST; the steady ones by default.");
  command->add_option("--from", options->from, "Begin the picture so many seconds later.")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--costs", options->costs,
                      "Write the measured costs to this file, for 'penstock simulate --costs'.");
  add_picture_options(*command, options->picture);
  command->add_flag("--json", options->json, "Print the summary as one JSON object at the end.");
  command->footer("Example: penstock trace runs/quickstart/trace.json --batches 4:6");
  command->callback([options] { run(*options); });
}

}  // namespace penstock::cli
