#include "base/sum_of_squares.h"

#include <array>
#include <cstddef>

#include "base/vectorize.h"

namespace penstock {

// The square of a float is exact in double, so fused operations form the same bits.
PENSTOCK_VECTORIZE double sum_of_squares(std::span<const float> values) {
  // Independent partial sums let the compiler use vectors without reordering any addition.
  constexpr std::size_t lanes = 16;
  std::array<double, lanes> partial{};
  std::size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const double value = values[i + lane];
      partial[lane] += value * value;
    }
  }
  for (; i < values.size(); ++i) {
    const double value = values[i];
    partial[i % lanes] += value * value;
  }
  double sum = 0;
  for (const double value : partial) sum += value;
  return sum;
}

}  // namespace penstock
