#pragma once
// A timeline as text, for a terminal.

#include <cstddef>
#include <string>

#include "timeline/picture.h"

namespace penstock::timeline {

struct TextStyle {
  std::size_t width = 0;     // columns of a line; 0: as many as it takes
  std::size_t per_slot = 0;  // columns of a time slot; 0: a label and a gap
  bool colour = false;       // with escape codes for 256 colours
};

struct TextPicture {
  std::string text;    // lines, each ended
  double shown = 0;    // seconds of the longest panel that fit the width
  double missing = 0;  // seconds that did not
};

/// One line per stage, one column of `per_slot` characters per time slot. A cell begins with its
/// label and goes on in '-'; '.' is the bubble, '~' a transfer, '=' a send held up by a full edge,
/// '|' an update without duration. With colours a cell is a coloured field instead of '-'.
/// Moments are rounded to characters; what is shorter than half a character is not seen.
TextPicture text_picture(const Picture& picture, const TextStyle& style);

}  // namespace penstock::timeline
