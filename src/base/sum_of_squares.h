#pragma once
// The one definition of a squared norm, so that every place forms the same bits.

#include <span>

namespace penstock {

/// Sum of x[i]^2 in double precision, in a fixed order that does not depend on the machine's
/// vector width. NaN and infinity propagate.
double sum_of_squares(std::span<const float> values);

}  // namespace penstock
