#pragma once
// A timeline as SVG.

#include <string>

#include "timeline/picture.h"

namespace penstock::timeline {

/// One row per stage, all of the picture's time, wide enough that the label of a time slot fits;
/// pictures that would become wider than `widest` pixels are compressed, and labels stand only
/// where they fit. An update without duration is a tick under its row. The first micro-batch of a
/// batch has a bar at its left edge. Legible on light and on dark ground, which shows through.
/// The same picture gives the same text.
std::string svg(const Picture& picture, double widest = 16000);

/// `text` with &, <, > and " written as XML has them.
std::string escape_xml(const std::string& text);

}  // namespace penstock::timeline
