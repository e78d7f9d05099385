#pragma once
// e^x as straight-line arithmetic that compilers turn into vector code.

#include <algorithm>
#include <bit>
#include <cstdint>

namespace penstock::kernels {

/// e^x to a relative error below 2e-7; 0 below -87, clamped at e^88 above; NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln(2)/2, e^r by its Taylor polynomial of degree 7 (remainder below
/// (ln(2)/2)^8 / 8! = 5e-9), scaled by 2^n through the exponent bits.
inline __attribute__((always_inline)) float exp_approx(float x) {
  constexpr float log2_e = 1.44269504F;
  constexpr float ln2_high = 0.693359375F;  // few mantissa bits: n * ln2_high is exact
  constexpr float ln2_low = -2.12194440e-4F;
  constexpr float round_to_integer = 12582912.0F;  // 1.5 * 2^23
  const float bounded = x > 88.0F ? 88.0F : (x < -87.0F ? -87.0F : x);
  const float shifted = bounded * log2_e + round_to_integer;
  const float n = shifted - round_to_integer;
  const float r = (bounded - n * ln2_high) - n * ln2_low;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const auto exponent =
      std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(round_to_integer);
  const float scale = std::bit_cast<float>((exponent + 127U) << 23U);
  return x < -87.0F ? 0.0F : p * scale;
}

}  // namespace penstock::kernels
