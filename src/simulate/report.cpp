#include "simulate/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "timeline/picture.h"
#include "timeline/usage_text.h"

namespace penstock::simulate {
namespace {

using Json = nlohmann::ordered_json;
using timeline::Cause;
using timeline::StageGroup;
using timeline::Usage;

constexpr std::size_t bar_width = 36;

Json number_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

double actions_per_second(const Result& result, double seconds) {
  return seconds > 0 ? static_cast<double>(result.actions) / seconds : 0;
}

double peak_bytes(const Result& result) {
  double most = 0;
  for (const StageResult& stage : result.stages) most = std::max(most, stage.peak_bytes);
  return most;
}

Json stage_to_json(const StageResult& stage) {
  Json object = timeline::stage_json(stage.usage, stage.bubble_fraction);
  object["peak_in_flight"] = stage.peak_in_flight;
  object["peak_bytes"] = stage.peak_bytes;
  object["slack"] = number_or_null(stage.slack);
  object["slacks"] = stage.slacks;
  return object;
}

std::string bytes_text(double bytes) {
  constexpr std::array<std::string_view, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.4g} {}", bytes, units[unit]);
}

std::string main_cause(const Usage& usage) {
  const auto most = std::ranges::max_element(
      timeline::bubble_causes, {}, [&](const Cause& cause) { return usage.*cause.seconds; });
  const double seconds = usage.*most->seconds;
  if (!(seconds > 0)) return "";
  return fmt::format("{} {:.1f} %", most->name, 100 * seconds / usage.seconds());
}

/// Neighbouring stages in one line.
std::string row(const Result& result, const StageGroup& group) {
  Usage usage;
  std::int64_t in_flight = 0;
  double bytes = 0;
  for (int s = group.first; s <= group.last; ++s) {
    const StageResult& stage = result.stages[static_cast<std::size_t>(s)];
    usage += stage.usage;
    in_flight = std::max(in_flight, stage.peak_in_flight);
    bytes = std::max(bytes, stage.peak_bytes);
  }
  const double all = usage.seconds();
  const double busy = all > 0 ? 1 - usage.bubble() / all : 0;
  std::string text =
      fmt::format("{:>9} {:6.1f} %  {}  {:<18} {:>9}", group.name(), 100 * busy,
                  timeline::bar(usage, bar_width, false), main_cause(usage), in_flight);
  if (bytes > 0) text += fmt::format("  {}", bytes_text(bytes));
  return text + "\n";
}

std::string table(const Result& result) {
  const auto groups = timeline::stage_groups(static_cast<int>(result.stages.size()));
  const bool alone = groups.size() == result.stages.size();
  std::string text =
      fmt::format("{:>9} {:>8}  {:<{}}  {:<18} {:>9}", alone ? "stage" : "stages", "busy",
                  "where the time goes", bar_width, "waits mostly for", "in flight");
  if (peak_bytes(result) > 0) text += "  peak";
  text += '\n';
  for (const StageGroup& group : groups) text += row(result, group);
  return text + fmt::format("  {}\n", timeline::bar_legend());
}

std::string window_text(const Result& result) {
  if (result.window_first < 0) return "the whole run";
  return fmt::format("from the end of batch {} to that of batch {}", result.window_first,
                     result.window_last);
}

std::string slack_text(const Result& result) {
  if (!result.slack) return "";
  const double slack = *result.slack;
  const std::string pairs =
      result.slack_pairs ? fmt::format(" = {:.4g} F,B pairs", *result.slack_pairs) : "";
  return fmt::format("slack       {:.6g} s{}: {}\n", slack, pairs,
                     slack < 0 ? "a stage waits that long for a reduction"
                               : "from a reduction's result to its first use, at least");
}

std::string stop_text(const Result& result) {
  if (result.stuck.empty()) return "";
  std::string text = fmt::format("The run came to a stop after {:.6g} s, with {} complete {}.\n",
                                 result.total_time, result.batches_done,
                                 result.batches_done == 1 ? "batch" : "batches");
  constexpr std::size_t most_lines = 32;
  for (std::size_t s = 0; s < std::min(result.stuck.size(), most_lines); ++s) {
    text += "  " + result.stuck[s] + "\n";
  }
  if (result.stuck.size() > most_lines) {
    text += fmt::format("  and {} more stages\n", result.stuck.size() - most_lines);
  }
  return text;
}

}  // namespace

std::string to_json(const Request& request, const Result& result, double seconds) {
  Json per_stage = Json::array();
  for (const StageResult& stage : result.stages) per_stage.push_back(stage_to_json(stage));
  const Json object = {{"schedule", request.schedule->name},
                       {"stages", request.shape.stages},
                       {"micro_batches", request.shape.micro_batches},
                       {"chunks", request.shape.chunks},
                       {"batches", request.batches},
                       {"step_time", result.step_time},
                       {"total_time", result.total_time},
                       {"bubble_fraction", result.bubble_fraction},
                       {"total_bubble_fraction", result.total_bubble_fraction},
                       {"window", {result.window_first, result.window_last}},
                       {"slack", number_or_null(result.slack)},
                       {"slack_pairs", number_or_null(result.slack_pairs)},
                       {"peak_bytes", peak_bytes(result)},
                       {"actions", result.actions},
                       {"seconds", seconds},
                       {"actions_per_second", actions_per_second(result, seconds)},
                       {"batches_done", result.batches_done},
                       {"stuck", result.stuck},
                       {"per_stage", per_stage}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_text(const Request& request, const Result& result, double seconds) {
  std::string text =
      fmt::format("{}, {} batch{}\n\n", timeline::shape_text(request.schedule->name, request.shape),
                  request.batches, request.batches == 1 ? "" : "es");
  text += stop_text(result);
  text +=
      fmt::format("step time   {:.6g} s per batch, {}\n", result.step_time, window_text(result));
  text += fmt::format("total time  {:.6g} s\n", result.total_time);
  text += fmt::format("bubble      {:.2f} %, of the whole run {:.2f} %\n",
                      100 * result.bubble_fraction, 100 * result.total_bubble_fraction);
  text += slack_text(result);
  text += fmt::format("simulated   {} actions in {:.3g} s, {:.3g} million per second\n\n",
                      result.actions, seconds, actions_per_second(result, seconds) / 1e6);
  return text + table(result);
}

}  // namespace penstock::simulate
