#include "timeline/text_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace penstock::timeline {
namespace {

struct Glyph {
  char character = '.';
  int ink = 0;         // of 256; 0: the terminal's own
  int background = 0;  // likewise
  bool dim = true;

  bool same_paint(const Glyph& other) const {
    return ink == other.ink && background == other.background && dim == other.dim;
  }
};

using Line = std::vector<Glyph>;

std::string to_text(const Line& line, bool coloured) {
  std::string text;
  const Glyph* before = nullptr;
  for (const Glyph& glyph : line) {
    if (coloured && (before == nullptr || !glyph.same_paint(*before))) {
      text += "\x1b[0";
      if (glyph.dim) text += ";2";
      if (glyph.ink != 0) text += fmt::format(";38;5;{}", glyph.ink);
      if (glyph.background != 0) text += fmt::format(";48;5;{}", glyph.background);
      text += 'm';
    }
    text += glyph.character;
    before = &glyph;
  }
  return coloured && before != nullptr ? text + "\x1b[0m" : text;
}

char bubble_character(Mark mark) {
  return mark == Mark::transfer ? '~' : mark == Mark::blocked ? '=' : '.';
}

std::string row_name(std::size_t stage) { return fmt::format("stage {}", stage); }

class Drawing {
 public:
  Drawing(const Picture& picture, const TextStyle& style) : picture_(picture), style_(style) {
    for (const Panel& panel : picture.panels) {
      const std::size_t stages = panel.timeline->stages.size();
      margin_ = std::max(margin_, row_name(stages == 0 ? 0 : stages - 1).size() + 2);
      label_ = std::max(label_, label_length(panel.timeline->shape));
    }
    const std::size_t per_slot = style.per_slot > 0 ? style.per_slot : label_ + 1;
    seconds_per_column_ = picture.slot / static_cast<double>(per_slot);
    const double wanted = std::ceil(span_of(picture) / seconds_per_column_ - 0.5);
    columns_ = static_cast<std::size_t>(std::clamp(wanted, 1.0, 1e7));
    if (style.width > 0) {
      const std::size_t room = style.width > margin_ + 1 ? style.width - margin_ : 1;
      columns_ = std::min(columns_, room);
    }
  }

  TextPicture draw() const {
    TextPicture result;
    for (const Panel& panel : picture_.panels) {
      if (!panel.title.empty()) result.text += panel.title + "\n";
      result.text += axis_line(panel);
      for (std::size_t s = 0; s < panel.timeline->stages.size(); ++s) {
        result.text += fmt::format("{:<{}}", row_name(s), margin_);
        result.text += to_text(row(panel, panel.timeline->stages[s]), style_.colour) + "\n";
      }
    }
    result.text += legend_lines();
    const double length = span_of(picture_);
    result.shown = std::min(length, static_cast<double>(columns_) * seconds_per_column_);
    result.missing = length - result.shown;
    if (result.missing < seconds_per_column_ / 2) result.missing = 0;
    return result;
  }

 private:
  std::size_t column(double seconds) const {
    const double at = std::round(seconds / seconds_per_column_);
    return static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(columns_)));
  }

  std::string axis_line(const Panel& panel) const {
    constexpr double least_columns = 10;
    std::string line(columns_, ' ');
    for (const Tick& tick : ticks({.axis = picture_.axis,
                            .from = panel.from,
                            .length = double(columns_) * seconds_per_column_,
                            .distance = least_columns * seconds_per_column_})) {
      const std::size_t at = column(tick.at);
      if (at + tick.text.size() <= line.size()) line.replace(at, tick.text.size(), tick.text);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return fmt::format("{:<{}}{}\n", "time", margin_, line);
  }

  Line row(const Panel& panel, const std::vector<Span>& spans) const {
    Line line(columns_);
    const auto found = cells(spans, panel.from, panel.to);
    for (const Cell& cell : found) {
      paint(line, cell, column(cell.begin - panel.from),
            column(std::min(cell.end, panel.to) - panel.from), panel);
    }
    for (const Cell& cell : found) {
      if (cell.mark != Mark::update || cell.end > cell.begin || cell.begin < panel.from) continue;
      const std::size_t at = column(cell.begin - panel.from);
      if (at > 0) line[at - 1] = {'|', colour(Mark::update, true).terminal_background, 0, false};
    }
    return line;
  }

  void paint(Line& line, const Cell& cell, std::size_t begin, std::size_t end,
             const Panel& panel) const {
    if (begin >= end) return;
    const Colour paint = colour(cell);
    if (is_bubble(cell.mark)) {
      const char character = bubble_character(cell.mark);
      const Glyph glyph{character, character == '.' ? 0 : paint.terminal_ink, 0, character == '.'};
      std::fill(line.begin() + std::ptrdiff_t(begin), line.begin() + std::ptrdiff_t(end), glyph);
      return;
    }
    // A cell cut off by the left border has shown its label before.
    std::string text = cell.begin < panel.from ? "" : label(cell, panel.timeline->shape);
    if (text.size() > end - begin) text.resize(1);
    const bool gap = end - begin > text.size() && end - begin > 1 && end < columns_;
    const std::size_t filled = end - (gap ? 1 : 0);
    for (std::size_t i = begin; i < end; ++i) {
      if (i >= filled) {
        line[i] = {' ', 0, 0, false};
        continue;
      }
      const bool in_label = i - begin < text.size();
      line[i] = {in_label        ? text[i - begin]
                 : style_.colour ? ' '
                                 : '-',
                 paint.terminal_ink, paint.terminal_background, false};
    }
  }

  std::string legend_lines() const {
    std::string text;
    for (const LegendEntry& entry : legend(picture_)) {
      const bool bubble = is_bubble(entry.mark) && bubble_character(entry.mark) == '.';
      if (bubble) continue;
      if (!text.empty()) text += "   ";
      text += legend_sample(entry) + " " + std::string(title(entry.mark));
    }
    text += text.empty() ? "" : "   ";
    text += to_text({Glyph{}}, style_.colour) + " bubble\n" + legend_note(picture_);
    if (style_.colour) text += "; light: even weight versions, dark: odd ones";
    return text + "\n";
  }

  std::string legend_sample(const LegendEntry& entry) const {
    if (is_bubble(entry.mark)) return std::string(1, bubble_character(entry.mark));
    if (entry.instant && entry.mark == Mark::update) return "|";
    if (!style_.colour) return entry.letter;
    Line sample;
    for (const bool odd : {false, true}) {
      if (!(odd ? entry.odd : entry.even)) continue;
      const Colour paint = colour(entry.mark, odd);
      sample.push_back({entry.letter[0], paint.terminal_ink, paint.terminal_background, false});
    }
    return to_text(sample, true);
  }

  const Picture& picture_;
  TextStyle style_;
  std::size_t margin_ = 0;
  std::size_t label_ = 1;
  std::size_t columns_ = 1;
  double seconds_per_column_ = 1;
};

}  // namespace

TextPicture text_picture(const Picture& picture, const TextStyle& style) {
  return Drawing(picture, style).draw();
}

}  // namespace penstock::timeline
