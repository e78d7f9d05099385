#include "observe/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

namespace penstock::observe {
namespace {

constexpr std::size_t dots_across = 2;  // of a character
constexpr std::size_t dots_down = 4;

/// Means of the finite values of at most `bins` runs of equal length; a run without any is empty.
std::vector<std::optional<double>> binned(std::span<const double> values, std::size_t bins) {
  const std::size_t count = std::min(bins, values.size());
  std::vector<std::optional<double>> means(count);
  for (std::size_t bin = 0; bin < count; ++bin) {
    double sum = 0;
    std::size_t finite = 0;
    for (std::size_t i = bin * values.size() / count; i < (bin + 1) * values.size() / count; ++i) {
      if (!std::isfinite(values[i])) continue;
      sum += values[i];
      ++finite;
    }
    // The sum of huge values may have overflowed.
    const double mean = sum / static_cast<double>(finite);
    if (std::isfinite(mean)) means[bin] = mean;
  }
  return means;
}

/// A grid of dots, (0, 0) top left, printed four by two in a character.
class Dots {
 public:
  Dots(std::size_t width, std::size_t height) : width_(width), cells_(width * height, 0) {}

  void set(std::size_t x, std::size_t y) {
    static constexpr unsigned char bits[dots_down][dots_across] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    unsigned char& cell = cells_[y / dots_down * width_ + x / dots_across];
    cell = static_cast<unsigned char>(cell | bits[y % dots_down][x % dots_across]);
  }

  std::string row(std::size_t y) const {
    std::string text;
    for (std::size_t x = 0; x < width_; ++x) {
      // The Braille block starts at U+2800, in UTF-8 E2 A0 80.
      const unsigned pattern = cells_[y * width_ + x];
      text += '\xe2';
      text += static_cast<char>(0xa0u | (pattern >> 6));
      text += static_cast<char>(0x80u | (pattern & 0x3fu));
    }
    return text;
  }

 private:
  std::size_t width_;
  std::vector<unsigned char> cells_;
};

struct Bounds {
  double low = 0;
  double high = 0;
};

std::optional<Bounds> bounds_of(const std::vector<std::optional<double>>& means) {
  std::optional<Bounds> bounds;
  for (const auto& mean : means) {
    if (!mean) continue;
    if (!bounds) bounds = Bounds{*mean, *mean};
    bounds->low = std::min(bounds->low, *mean);
    bounds->high = std::max(bounds->high, *mean);
  }
  return bounds;
}

/// Draws each mean and joins it to the one before by dots above or below, so that a steep curve
/// has no holes. Fewer means than columns are spread over the width.
void draw(Dots& dots, const std::vector<std::optional<double>>& means, const Bounds& bounds,
          std::size_t columns, std::size_t rows) {
  // Halves keep the difference of two huge values finite.
  const double range = bounds.high / 2 - bounds.low / 2;
  const auto y_of = [&](double value) {
    const double depth = range > 0 ? (bounds.high / 2 - value / 2) / range : 0.5;
    return static_cast<std::size_t>(std::lround(depth * static_cast<double>(rows - 1)));
  };
  std::size_t previous = 0;
  bool joins = false;
  for (std::size_t x = 0; x < columns; ++x) {
    const auto& mean = means[x * means.size() / columns];
    joins = joins && mean.has_value();
    if (!mean) continue;
    const std::size_t y = y_of(*mean);
    dots.set(x, y);
    if (!joins) previous = y;
    for (std::size_t gap = std::min(y, previous) + 1; gap < std::max(y, previous); ++gap) {
      dots.set(x, gap);
    }
    previous = y;
    joins = true;
  }
}

std::string right_aligned(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

std::string draw_curve(std::span<const double> values, const CurveStyle& style) {
  const std::size_t width = std::max<std::size_t>(style.width, 1);
  const std::size_t height = std::max<std::size_t>(style.height, 2);
  const std::size_t columns = width * dots_across;
  const std::size_t rows = height * dots_down;
  const auto means = binned(values, columns);
  const std::optional<Bounds> bounds = bounds_of(means);
  if (!bounds) return {};

  Dots dots(width, height);
  draw(dots, means, *bounds, columns, rows);

  const std::string top = fmt::format("{:.4g}", bounds->high);
  const std::string bottom = fmt::format("{:.4g}", bounds->low);
  const std::size_t margin = std::max(top.size(), bottom.size());
  const bool flat = bounds->low == bounds->high;
  std::string text;
  for (std::size_t y = 0; y < height; ++y) {
    std::string label;
    if (flat && y == height / 2) label = top;
    if (!flat && y == 0) label = top;
    if (!flat && y == height - 1) label = bottom;
    text += fmt::format("{} {}{}\n", right_aligned(label, margin), label.empty() ? "│" : "┤",
                        dots.row(y));
  }
  std::string axis;
  for (std::size_t x = 0; x < width; ++x) axis += "─";
  const std::string last = values.size() > 1 ? std::to_string(values.size()) : "";
  const std::string blank(margin, ' ');
  text += fmt::format("{} └{}\n", blank, axis);
  text += fmt::format("{}  1{}\n", blank, right_aligned(last, width - 1));
  return text;
}

}  // namespace penstock::observe
