#include "timeline/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>

namespace penstock::timeline {
namespace {

using schedule::Action;
using schedule::ActionKind;

Mark mark_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::receive_activation:
    case ActionKind::receive_evaluation:
      return Mark::wait_activation;
    case ActionKind::forward:
      return Mark::forward;
    case ActionKind::send_activation:
    case ActionKind::send_gradient:
    case ActionKind::send_evaluation:
      return Mark::blocked;
    case ActionKind::receive_gradient:
      return Mark::wait_gradient;
    case ActionKind::backward:
      return Mark::backward;
    case ActionKind::backward_input:
      return Mark::backward_input;
    case ActionKind::backward_weight:
      return Mark::backward_weight;
    case ActionKind::contribute:
      return Mark::reduction;
    case ActionKind::await_reduction:
      return Mark::wait_update;
    case ActionKind::update:
      return Mark::update;
    case ActionKind::evaluate:
      return Mark::evaluation;
    case ActionKind::capture:
      return Mark::capture;
  }
  return Mark::blocked;
}

char letter(Mark mark) {
  switch (mark) {
    case Mark::forward:
      return 'F';
    case Mark::backward:
      return 'B';
    case Mark::backward_input:
      return 'X';
    case Mark::backward_weight:
      return 'W';
    case Mark::update:
      return 'U';
    case Mark::reduction:
      return 'R';
    case Mark::evaluation:
      return 'E';
    case Mark::capture:
      return 'S';
    default:
      return ' ';
  }
}

std::string chunk_suffix(int chunk, const schedule::PipelineShape& shape) {
  if (shape.chunks == 1) return "";
  constexpr int letters = 26;
  if (shape.chunks <= letters) return std::string(1, static_cast<char>('a' + chunk));
  return fmt::format(".{}", chunk);
}

bool counts_micro_batches(Mark mark) {
  return mark != Mark::update && mark != Mark::reduction && mark != Mark::capture &&
         !is_bubble(mark);
}

bool is_training(ActionKind kind) {
  return kind == ActionKind::forward || kind == ActionKind::backward ||
         kind == ActionKind::backward_input || kind == ActionKind::backward_weight;
}

}  // namespace

bool is_bubble(Mark mark) { return mark >= Mark::wait_activation && mark <= Mark::blocked; }

std::string_view title(Mark mark) {
  switch (mark) {
    case Mark::forward:
      return "forward";
    case Mark::backward:
      return "backward";
    case Mark::backward_input:
      return "backward, input (dX)";
    case Mark::backward_weight:
      return "backward, weights (dW)";
    case Mark::update:
      return "update";
    case Mark::reduction:
      return "share of the reduction";
    case Mark::evaluation:
      return "evaluation";
    case Mark::capture:
      return "capture of the state";
    case Mark::wait_activation:
      return "waiting for an activation";
    case Mark::wait_gradient:
      return "waiting for a gradient";
    case Mark::wait_update:
      return "waiting for the reduction";
    case Mark::transfer:
      return "transfer";
    case Mark::blocked:
      return "blocked by a full edge";
  }
  return "";
}

std::vector<Cell> cells(const std::vector<Span>& spans, double from, double to) {
  std::vector<Cell> result;
  for (const Span& span : spans) {
    if (span.end < from || span.begin > to) continue;
    const Mark mark = mark_of(span.action.kind);
    if (!is_bubble(mark)) {
      result.push_back({mark, span.action, span.begin, span.end});
      continue;
    }
    const double arriving = span.end - std::min(span.transfer, span.seconds());
    if (arriving > span.begin) result.push_back({mark, span.action, span.begin, arriving});
    if (span.end > arriving) result.push_back({Mark::transfer, span.action, arriving, span.end});
  }
  return result;
}

std::string label(const Cell& cell, const schedule::PipelineShape& shape) {
  if (is_bubble(cell.mark)) return "";
  std::string text(1, letter(cell.mark));
  if (cell.mark != Mark::evaluation && cell.action.batch % 2 != 0) {
    text[0] = static_cast<char>(std::tolower(text[0]));
  }
  if (!counts_micro_batches(cell.mark)) return text;
  const bool lone = shape.micro_batches == 1 && cell.mark != Mark::evaluation;
  const std::int64_t number = lone ? cell.action.batch : cell.action.micro_batch;
  return text + fmt::format("{}", number) + chunk_suffix(cell.action.chunk, shape);
}

std::size_t label_length(const schedule::PipelineShape& shape) {
  const Cell longest{Mark::forward,
                     Action{ActionKind::forward, 99, shape.micro_batches - 1, 0, shape.chunks - 1},
                     0, 0};
  return label(longest, shape).size();
}

Colour colour(Mark mark, bool odd_version) {
  struct Pair {
    Colour even;
    Colour odd;
  };
  constexpr std::array<Pair, 13> colours{{
      {{"#9fcbff", "#0b2545", 117, 16}, {"#2b67c4", "#ffffff", 26, 231}},
      {{"#a9dfa0", "#0d300f", 114, 16}, {"#2a7d38", "#ffffff", 28, 231}},
      {{"#8ee0d8", "#04302c", 116, 16}, {"#117a73", "#ffffff", 30, 231}},
      {{"#ffd391", "#452700", 222, 16}, {"#b0620a", "#ffffff", 130, 231}},
      {{"#ffa3af", "#4f000e", 217, 16}, {"#c92c4a", "#ffffff", 161, 231}},
      {{"#e6b3dc", "#3f0d36", 182, 16}, {"#99448a", "#ffffff", 132, 231}},
      {{"#d0c5f3", "#20104f", 183, 16}, {"#7558bd", "#ffffff", 97, 231}},
      {{"#8d99a8", "#ffffff", 0, 244}, {"#8d99a8", "#ffffff", 0, 244}},
      {{"#a89c8d", "#ffffff", 0, 244}, {"#a89c8d", "#ffffff", 0, 244}},
      {{"#a88d9f", "#ffffff", 0, 244}, {"#a88d9f", "#ffffff", 0, 244}},
      {{"#c9b23a", "#2d2600", 0, 178}, {"#c9b23a", "#2d2600", 0, 178}},
      {{"#c4554a", "#ffffff", 0, 167}, {"#c4554a", "#ffffff", 0, 167}},
      {{"#d3d59a", "#2b2d00", 186, 16}, {"#747a1f", "#ffffff", 100, 231}},
  }};
  const Pair& pair = colours[static_cast<std::size_t>(mark)];
  return odd_version ? pair.odd : pair.even;
}

Interval interval_of(const Timeline& timeline, std::int64_t first, std::int64_t last) {
  Interval interval{std::numeric_limits<double>::infinity(), 0};
  for (const auto& spans : timeline.stages) {
    for (const Span& span : spans) {
      const bool in_range = span.action.batch >= first && span.action.batch <= last;
      if (!in_range || !is_training(span.action.kind)) continue;
      interval.begin = std::min(interval.begin, span.begin);
      interval.end = std::max(interval.end, span.end);
    }
  }
  return interval.begin < interval.end ? interval : Interval{0, end_of(timeline)};
}

double end_of(const Timeline& timeline) {
  double end = 0;
  for (const auto& spans : timeline.stages) {
    if (!spans.empty()) end = std::max(end, spans.back().end);
  }
  return end;
}

double slot_of(const Timeline& timeline) {
  struct Mean {
    double seconds = 0;
    double count = 0;
  };
  std::array<Mean, 4> means{};
  for (const auto& spans : timeline.stages) {
    for (const Span& span : spans) {
      if (!is_training(span.action.kind)) continue;
      Mean& mean = means[static_cast<std::size_t>(mark_of(span.action.kind))];
      mean.seconds += span.seconds();
      mean.count += 1;
    }
  }
  double least = std::numeric_limits<double>::infinity();
  for (const Mean& mean : means) {
    if (mean.seconds > 0) least = std::min(least, mean.seconds / mean.count);
  }
  return std::isinf(least) ? 1 : least;
}

}  // namespace penstock::timeline
