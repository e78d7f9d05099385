#include "timeline/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace penstock::timeline {
namespace {

constexpr std::size_t marks = 12;

bool any_panel(const Picture& picture, bool (*test)(const Timeline&)) {
  return std::any_of(picture.panels.begin(), picture.panels.end(),
                     [&](const Panel& panel) { return test(*panel.timeline); });
}

/// The least of 1, 2, 5 times a power of ten that is at least `value`.
double round_up(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= value * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::vector<LegendEntry> legend(const Picture& picture) {
  std::array<LegendEntry, marks> entries{};
  std::array<bool, marks> occurs{};
  for (const Panel& panel : picture.panels) {
    for (const auto& spans : panel.timeline->stages) {
      for (const Cell& cell : cells(spans, panel.from, panel.to)) {
        const auto i = static_cast<std::size_t>(cell.mark);
        const bool instant = cell.end == cell.begin;
        if (instant && cell.mark != Mark::update) continue;
        occurs[i] = true;
        entries[i].instant = entries[i].instant || instant;
        (cell.action.version % 2 == 0 ? entries[i].even : entries[i].odd) = true;
      }
    }
  }
  std::vector<LegendEntry> result;
  for (std::size_t i = 0; i < marks; ++i) {
    if (!occurs[i]) continue;
    entries[i].mark = static_cast<Mark>(i);
    entries[i].letter = label({entries[i].mark, {}, 0, 0}, {}).substr(0, 1);
    result.push_back(entries[i]);
  }
  return result;
}

std::string legend_note(const Picture& picture) {
  std::string text = "capital letters: even batches, small: odd";
  if (any_panel(picture, [](const Timeline& timeline) { return timeline.shape.chunks > 1; })) {
    text += "; a, b: chunks";
  }
  return text;
}

double span_of(const Picture& picture) {
  double longest = 0;
  for (const Panel& panel : picture.panels) longest = std::max(longest, panel.to - panel.from);
  return longest;
}

std::vector<Tick> ticks(const TickRequest& request) {
  const bool plain = request.axis == Axis::plain;
  const double start = plain ? request.from : 0;
  const double step = round_up(request.distance);
  const double first = std::ceil(start / step - 1e-9);
  std::vector<Tick> result;
  for (int i = 0; (first + i) * step - start <= request.length; ++i) {
    const double at = (first + i) * step;
    const std::string text = plain || at == 0 ? fmt::format("{:.6g}", at) : seconds_text(at);
    result.push_back({at - start, text});
  }
  return result;
}

std::string shape_text(std::string_view schedule, const schedule::PipelineShape& shape) {
  std::string text = fmt::format("{}, {} stage{}, {} micro-batch{}", schedule, shape.stages,
                                 shape.stages == 1 ? "" : "s", shape.micro_batches,
                                 shape.micro_batches == 1 ? "" : "es");
  if (shape.chunks > 1) text += fmt::format(", {} chunks per stage", shape.chunks);
  return text;
}

std::string seconds_text(double seconds) {
  const double size = std::abs(seconds);
  if (size == 0) return "0 s";
  if (size < 0.9995e-3) return fmt::format("{:.3g} us", 1e6 * seconds);
  if (size < 0.9995) return fmt::format("{:.3g} ms", 1e3 * seconds);
  if (size < 999.5) return fmt::format("{:.3g} s", seconds);
  return fmt::format("{:.0f} s", seconds);
}

}  // namespace penstock::timeline
