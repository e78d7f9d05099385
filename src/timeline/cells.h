#pragma once
// What pictures of a timeline are made of: coloured, labelled cells.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "timeline/timeline.h"

namespace penstock::timeline {

enum class Mark : std::uint8_t {
  forward,
  backward,
  backward_input,
  backward_weight,
  update,
  reduction,  // contribute
  evaluation,
  wait_activation,
  wait_gradient,
  wait_update,
  transfer,
  blocked,
  capture,
};

/// Whether a cell of this mark belongs to the bubble.
bool is_bubble(Mark mark);

/// "forward", "waiting for an activation", ...
std::string_view title(Mark mark);

/// One rectangle: a span, or one of the two parts of a receive.
struct Cell {
  Mark mark{};
  schedule::Action action;
  double begin = 0;  // seconds
  double end = 0;
};

/// The cells of one stage that touch [from, to], uncut and in the order of time. A receive gives a
/// wait and a transfer, as far as they last; of other actions, those without duration are kept.
std::vector<Cell> cells(const std::vector<Span>& spans, double from, double to);

/// "F3", "B3", "X3" (dX), "W3" (dW), "U" (update), "R" (share of the reduction), "E3" (evaluation),
/// "S" (capture of the state); empty for a bubble. Odd batches in small letters. Where a batch has
/// one micro-batch, the number is the batch's. With several chunks their letter is added: "F3a" on
/// chunk 0, "F3b" on chunk 1.
std::string label(const Cell& cell, const schedule::PipelineShape& shape);

/// Characters of the longest label that a run of this shape has; with one micro-batch per batch, in
/// its first hundred batches.
std::size_t label_length(const schedule::PipelineShape& shape);

/// Hue by what is done, light for even weight versions and dark for odd ones.
struct Colour {
  std::string_view fill;        // "#rrggbb"
  std::string_view ink;         // of the label
  int terminal_background = 0;  // of the 256 colours of a terminal
  int terminal_ink = 0;
};
Colour colour(Mark mark, bool odd_version);
inline Colour colour(const Cell& cell) { return colour(cell.mark, cell.action.version % 2 != 0); }

/// A stretch of time in seconds.
struct Interval {
  double begin = 0;
  double end = 0;
};
/// From the first F of batch `first` on any stage to the last B of batch `last` (or dX, dW); the
/// whole timeline where it has none of them.
Interval interval_of(const Timeline& timeline, std::int64_t first, std::int64_t last);

/// End of the last span.
double end_of(const Timeline& timeline);

/// The typical length of the shortest of F, B, dX and dW, which pictures make wide enough for a
/// label: the least of their means, in seconds. 1 where there is none.
double slot_of(const Timeline& timeline);

}  // namespace penstock::timeline
