#pragma once
// A curve drawn in text.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace penstock::observe {

struct CurveStyle {
  std::size_t width = 60;  ///< Columns of the drawing, axis labels not counted.
  std::size_t height = 8;  ///< Rows of the drawing.
};

/// `values` over 1, 2, ..., values.size() as a curve of Braille dots (2 by 4 per character) with
/// labelled axes. More values than dots are averaged in bins of equal size; values that are not
/// finite are left out. Empty text where none is finite.
/// Lines end with '\n'; UTF-8.
std::string draw_curve(std::span<const double> values, const CurveStyle& style = {});

}  // namespace penstock::observe
