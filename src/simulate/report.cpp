#include "simulate/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

namespace penstock::simulate {
namespace {

using Json = nlohmann::ordered_json;
using timeline::Usage;

constexpr int bar_width = 36;
constexpr int most_rows = 32;

struct Cause {
  char letter;
  std::string_view name;
  double Usage::*seconds;
};

constexpr std::array<Cause, 6> causes{{
    {'a', "activation", &Usage::wait_activation},
    {'g', "gradient", &Usage::wait_gradient},
    {'u', "update", &Usage::wait_update},
    {'t', "transfer", &Usage::transfer},
    {'b', "blocked", &Usage::blocked},
    {'.', "idle", &Usage::idle},
}};

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
  Json seconds = Json::object();
  for (const Cause& cause : causes) seconds[std::string(cause.name)] = stage.usage.*cause.seconds;
  return {{"bubble_fraction", stage.bubble_fraction},
          {"work", stage.usage.work},
          {"causes", seconds},
          {"peak_in_flight", stage.peak_in_flight},
          {"peak_bytes", stage.peak_bytes},
          {"slack", number_or_null(stage.slack)}};
}

std::string bytes_text(double bytes) {
  constexpr std::array<std::string_view, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.4g} {}", bytes, units[unit]);
}

/// `bar_width` letters in the proportions of `usage`: each boundary is rounded, so the letters
/// always fill the bar.
std::string bar(const Usage& usage) {
  const double all = usage.seconds();
  std::string text;
  if (!(all > 0)) return std::string(bar_width, ' ');
  double until = usage.work + usage.evaluation;
  const auto fill = [&](char letter) {
    const auto end = static_cast<std::size_t>(std::lround(bar_width * std::min(until / all, 1.0)));
    if (end > text.size()) text.append(end - text.size(), letter);
  };
  fill('#');
  for (const Cause& cause : causes) {
    until += usage.*cause.seconds;
    fill(cause.letter);
  }
  return text;
}

std::string main_cause(const Usage& usage) {
  const auto* const most = std::ranges::max_element(
      causes, {}, [&](const Cause& cause) { return usage.*cause.seconds; });
  const double seconds = usage.*most->seconds;
  if (!(seconds > 0)) return "";
  return fmt::format("{} {:.1f} %", most->name, 100 * seconds / usage.seconds());
}

/// The stages from `first` to `last` in one line.
std::string row(const Result& result, int first, int last) {
  Usage usage;
  std::int64_t in_flight = 0;
  double bytes = 0;
  for (int s = first; s <= last; ++s) {
    const StageResult& stage = result.stages[static_cast<std::size_t>(s)];
    usage += stage.usage;
    in_flight = std::max(in_flight, stage.peak_in_flight);
    bytes = std::max(bytes, stage.peak_bytes);
  }
  const double all = usage.seconds();
  const double busy = all > 0 ? 1 - usage.bubble() / all : 0;
  const std::string name =
      first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
  std::string text = fmt::format("{:>9} {:6.1f} %  {}  {:<18} {:>9}", name, 100 * busy, bar(usage),
                                 main_cause(usage), in_flight);
  if (bytes > 0) text += fmt::format("  {}", bytes_text(bytes));
  return text + "\n";
}

std::string table(const Result& result) {
  const auto stages = static_cast<int>(result.stages.size());
  const int group = (stages + most_rows - 1) / most_rows;
  std::string text =
      fmt::format("{:>9} {:>8}  {:<{}}  {:<18} {:>9}", stages > most_rows ? "stages" : "stage",
                  "busy", "where the time goes", bar_width, "waits mostly for", "in flight");
  if (peak_bytes(result) > 0) text += "  peak";
  text += '\n';
  for (int first = 0; first < stages; first += group) {
    text += row(result, first, std::min(first + group, stages) - 1);
  }
  text +=
      "  # busy; waits for: a activation, g gradient, u update, t transfer, b a full edge; . "
      "idle\n";
  return text;
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
  constexpr std::size_t most_lines = most_rows;
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
  Json stages = Json::array();
  for (const StageResult& stage : result.stages) stages.push_back(stage_to_json(stage));
  const Json object = {{"schedule", request.schedule->name},
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
                       {"stages", stages}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_text(const Request& request, const Result& result, double seconds) {
  const schedule::PipelineShape shape = request.shape;
  std::string text = fmt::format("{}: {} {}", request.schedule->name, shape.stages,
                                 shape.stages == 1 ? "stage" : "stages");
  if (shape.chunks > 1) text += fmt::format(" of {} chunks", shape.chunks);
  text += fmt::format(", {} micro-batches per batch, {} batches\n\n", shape.micro_batches,
                      request.batches);
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
