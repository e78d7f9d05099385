#include "timeline/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace penstock::timeline {
namespace {

// Of the monospaced fonts named below the widest character, in font sizes.
constexpr double character_width = 0.61;
constexpr double text_size = 12;  // of everything but labels in cells
constexpr double line_height = 18;
constexpr double border = 8;
constexpr std::string_view fonts =
    "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace";

/// At most one decimal, no trailing zero.
std::string number(double value) {
  const double tenths = std::round(value * 10);
  if (tenths == 0) return "0";
  return fmt::format("{}", tenths / 10);
}

double text_width(std::size_t characters, double size) {
  return static_cast<double>(characters) * character_width * size;
}

struct Rows {
  double height = 0;
  double gap = 0;
  double font = 0;
};

Rows rows_of(std::size_t stages) {
  if (stages <= 8) return {22, 3, 12};
  if (stages <= 16) return {18, 2, 11};
  return {14, 2, 10};
}

/// Everything of one colour, so that the file names the colour once.
struct Layer {
  std::string path;
  std::string bars;
  std::string labels;
};

using LayerKey = std::pair<Mark, bool>;  // and whether the version is odd

std::string layer_class(const LayerKey& key) {
  return fmt::format("{}{}", static_cast<char>('a' + static_cast<int>(key.first)),
                     key.second ? 1 : 0);
}

std::string rectangle(double x, double y, double width, double height) {
  return fmt::format("M{} {}h{}v{}h-{}z", number(x), number(y), number(width), number(height),
                     number(width));
}

std::string text_at(double x, double y, const std::string& text) {
  return fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", number(x), number(y), escape_xml(text));
}

class Drawing {
 public:
  Drawing(const Picture& picture, double widest) : picture_(picture), legend_(legend(picture)) {
    std::size_t stages = 1;
    std::size_t label = 1;
    for (const Panel& panel : picture.panels) {
      stages = std::max(stages, panel.timeline->stages.size());
      label = std::max(label, label_length(panel.timeline->shape));
    }
    rows_ = rows_of(stages);
    margin_ = border + text_width(fmt::format("stage {}", stages - 1).size(), text_size) + 6;
    const double slot = text_width(label, rows_.font) + 6;
    const double length = span_of(picture);
    scale_ = slot / picture.slot;
    if (length * scale_ > widest) scale_ = widest / length;
    width_ = std::max(margin_ + length * scale_ + border, least_width());
  }

  std::string draw() {
    double y = border;
    for (const Panel& panel : picture_.panels) y = draw_panel(panel, y) + line_height / 2;
    y = draw_legend(y);
    return head(y + border) + body() + "</svg>\n";
  }

 private:
  double least_width() const {
    double least = 0;
    for (const Panel& panel : picture_.panels) {
      least = std::max(least, text_width(panel.title.size(), text_size) + 2 * border);
    }
    return std::max(least, text_width(legend_note(picture_).size(), text_size) + 2 * border);
  }

  double x_of(const Panel& panel, double seconds) const {
    return margin_ + (std::clamp(seconds, panel.from, panel.to) - panel.from) * scale_;
  }

  double draw_panel(const Panel& panel, double y) {
    if (!panel.title.empty()) {
      words_ += text_at(border, y + text_size, panel.title);
      y += line_height;
    }
    const double top = y;
    const double pitch = rows_.height + rows_.gap;
    for (std::size_t s = 0; s < panel.timeline->stages.size(); ++s) {
      const double middle = y + rows_.height / 2 + 0.36 * rows_.font;
      words_ += text_at(border, middle, fmt::format("stage {}", s));
      const auto& spans = panel.timeline->stages[s];
      ground_ += rectangle(margin_, y, (panel.to - panel.from) * scale_, rows_.height);
      for (const Cell& cell : cells(spans, panel.from, panel.to)) draw_cell(panel, cell, y);
      y += pitch;
    }
    draw_axis(panel, top, y);
    return y + line_height;
  }

  void draw_cell(const Panel& panel, const Cell& cell, double y) {
    const double x = x_of(panel, cell.begin);
    const double width = x_of(panel, cell.end) - x;
    if (cell.end == cell.begin) {
      if (cell.mark == Mark::update) {
        instants_ += rectangle(x - 1, y + rows_.height - 6, 2, 6 + rows_.gap);
      }
      return;
    }
    const bool waits =
        is_bubble(cell.mark) && cell.mark != Mark::transfer && cell.mark != Mark::blocked;
    if (waits || width < 0.05) return;
    const bool drawn_bubble = is_bubble(cell.mark);
    const bool several = panel.timeline->shape.micro_batches > 1;
    Layer& layer = layers_[{cell.mark, !drawn_bubble && cell.action.version % 2 != 0}];
    // A hair of ground between neighbours, where there is room for it.
    const double seam = width > 3 ? 0.8 : 0;
    layer.path += rectangle(x, y, width - seam, rows_.height);
    if (several && starts_batch(cell) && cell.begin >= panel.from && width > 8) {
      layer.bars += rectangle(x, y, 2, rows_.height);
    }
    const std::string text = fitting_label(cell, panel.timeline->shape, width - seam);
    if (text.empty() || cell.begin < panel.from) return;
    layer.labels += text_at(x + (width - seam) / 2, y + rows_.height / 2 + 0.36 * rows_.font, text);
  }

  static bool starts_batch(const Cell& cell) {
    const bool trains = cell.mark <= Mark::backward_weight;
    return trains && cell.action.micro_batch == 0;
  }

  std::string fitting_label(const Cell& cell, const schedule::PipelineShape& shape,
                            double width) const {
    std::string text = label(cell, shape);
    if (text_width(text.size(), rows_.font) <= width) return text;
    text = text.substr(0, 1);
    return text_width(text.size(), rows_.font) <= width ? text : "";
  }

  void draw_axis(const Panel& panel, double top, double bottom) {
    const double length = panel.to - panel.from;
    const double distance = text_width(9, text_size) / scale_;
    for (const Tick& tick : ticks({picture_.axis, panel.from, length, distance})) {
      const double x = margin_ + tick.at * scale_;
      grid_ += fmt::format("M{} {}V{}", number(x), number(top - 2), number(bottom + 2));
      const double width = text_width(tick.text.size(), text_size);
      if (x + width + 3 <= width_) words_ += text_at(x + 3, bottom + text_size, tick.text);
    }
  }

  double draw_legend(double y) {
    double x = border;
    const auto place = [&](double width) {
      if (x > border && x + width > width_ - border) {
        x = border;
        y += line_height;
      }
      return std::exchange(x, x + width + 14);
    };
    for (const LegendEntry& entry : legend_) {
      const bool bubble = is_bubble(entry.mark);
      if (bubble && entry.mark != Mark::transfer && entry.mark != Mark::blocked) continue;
      draw_legend_entry(entry, y, place);
    }
    const double at = place(16 + text_width(6, text_size));
    ground_ += rectangle(at, y + 1, 12, 12);
    words_ += text_at(at + 16, y + text_size, "bubble");
    y += line_height;
    words_ += text_at(border, y + text_size, legend_note(picture_));
    words_ += text_at(border, y + line_height + text_size, std::string(shades));
    return y + 2 * line_height;
  }

  template <class Place>
  void draw_legend_entry(const LegendEntry& entry, double y, const Place& place) {
    std::string name(title(entry.mark));
    if (!entry.letter.empty()) name = entry.letter + " " + name;
    const bool tick = entry.instant && entry.mark == Mark::update;
    const int swatches = tick || is_bubble(entry.mark) ? 1 : int(entry.even) + int(entry.odd);
    const double at = place(13 * swatches + 3 + text_width(name.size(), text_size));
    if (tick) {
      instants_ += rectangle(at + 5, y + 3, 2, 10);
    } else if (is_bubble(entry.mark)) {
      layers_[{entry.mark, false}].path += rectangle(at, y + 1, 12, 12);
    } else {
      int drawn = 0;
      for (const bool odd : {false, true}) {
        if (!(odd ? entry.odd : entry.even)) continue;
        layers_[{entry.mark, odd}].path += rectangle(at + 13 * drawn++, y + 1, 12, 12);
      }
    }
    words_ += text_at(at + 13 * swatches + 3, y + text_size, name);
  }

  std::string head(double height) const {
    std::string title;
    for (const Panel& panel : picture_.panels) title += (title.empty() ? "" : "; ") + panel.title;
    std::string text = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" role=\"img\">\n<title>{2}</title>\n<style>\n"
        "text{{font:{3}px {4};fill:#7b828c}}\n.l text{{font-size:{5}px;text-anchor:middle}}\n",
        number(std::ceil(width_)), number(std::ceil(height)), escape_xml(title), number(text_size),
        fonts, number(rows_.font));
    for (const auto& [key, layer] : layers_) {
      const Colour paint = colour(key.first, key.second);
      text += fmt::format(".{0}{{fill:{1}}}\n.l .{0}l{{fill:{2}}}\n.{0}l text{{fill:{2}}}\n",
                          layer_class(key), paint.fill, paint.ink);
    }
    return text + "</style>\n";
  }

  std::string body() const {
    std::string text =
        fmt::format("<path d=\"{}\" fill=\"#808890\" fill-opacity=\".2\"/>\n", ground_);
    text += fmt::format(
        "<path d=\"{}\" stroke=\"#808890\" stroke-opacity=\".45\" stroke-width=\"1\"/>\n", grid_);
    for (const auto& [key, layer] : layers_) {
      const std::string name = layer_class(key);
      text += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", name, layer.path);
      if (layer.bars.empty() && layer.labels.empty()) continue;
      text += fmt::format("<g class=\"l\"><g class=\"{}l\">\n", name);
      if (!layer.bars.empty()) text += fmt::format("<path d=\"{}\"/>\n", layer.bars);
      text += layer.labels + "</g></g>\n";
    }
    if (!instants_.empty()) {
      text +=
          fmt::format("<path d=\"{}\" fill=\"{}\"/>\n", instants_, colour(Mark::update, true).fill);
    }
    return text + words_;
  }

  static constexpr std::string_view shades =
      "light: even weight versions, dark: odd; a bar at the left edge starts a batch";

  const Picture& picture_;
  std::vector<LegendEntry> legend_;
  Rows rows_;
  double margin_ = 0;
  double scale_ = 1;  // pixels per second
  double width_ = 0;
  std::map<LayerKey, Layer> layers_;
  std::string ground_;
  std::string grid_;
  std::string instants_;
  std::string words_;
};

}  // namespace

std::string svg(const Picture& picture, double widest) { return Drawing(picture, widest).draw(); }

std::string escape_xml(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace penstock::timeline
