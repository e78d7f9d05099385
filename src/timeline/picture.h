#pragma once
// What is drawn, whatever it is drawn with.

#include <string>
#include <string_view>
#include <vector>

#include "timeline/cells.h"

namespace penstock::timeline {

/// One timeline of a picture, drawn from moment `from` to moment `to` (seconds).
struct Panel {
  std::string title;
  const Timeline* timeline = nullptr;
  double from = 0;
  double to = 0;
};

/// How moments are written along the time axis: as plain numbers since the start of the run, for
/// costs without a unit, or in seconds since the start of the panel.
enum class Axis { plain, seconds };

/// Panels one under the other, all with the same scale and starting at the same column.
struct Picture {
  std::vector<Panel> panels;
  Axis axis = Axis::plain;
  double slot = 1;  // seconds that are made as wide as a label; see slot_of()
};

/// What a legend explains, in the order of Mark: what can be seen in the picture.
struct LegendEntry {
  Mark mark{};
  std::string letter;  // empty for bubbles
  bool even = false;   // weight versions that occur with it
  bool odd = false;
  bool instant = false;  // an update without duration
};
std::vector<LegendEntry> legend(const Picture& picture);

/// What a legend has to say in words: letters, versions, chunks.
std::string legend_note(const Picture& picture);

/// The longest panel, in seconds.
double span_of(const Picture& picture);

struct Tick {
  double at = 0;  // seconds after the start of the panel
  std::string text;
};
/// Round moments at least `distance` seconds apart, over `length` seconds of a panel that starts at
/// `from`.
struct TickRequest {
  Axis axis = Axis::plain;
  double from = 0;
  double length = 0;
  double distance = 1;
};
std::vector<Tick> ticks(const TickRequest& request);

/// "2bw, 4 stages, 8 micro-batches", and the chunks where there are several.
std::string shape_text(std::string_view schedule, const schedule::PipelineShape& shape);

/// "12 ms", "1.5 s", "250 us"
std::string seconds_text(double seconds);

}  // namespace penstock::timeline
