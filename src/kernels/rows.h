#pragma once
// Arithmetic on rows of floats: the inner loops of the fused operations. Portable C++, vectorised
// by the compiler with the instruction set chosen at run time. Sums use a fixed order, so results
// do not depend on the number of threads. Thread-safe; rows must not overlap unless said so.

#include <cstdint>

namespace penstock::kernels::rows {

using Bf16Bits = std::uint16_t;

void to_float(const Bf16Bits* in, float* out, std::int64_t n);
/// Rounds to nearest, ties to even; NaN stays NaN.
void to_bf16(const float* in, Bf16Bits* out, std::int64_t n);

/// sum a[i]^2
float sum_of_squares(const float* a, std::int64_t n);
/// y[i] = x[i] * scale * gain[i]
void scale(const float* x, float scale, const float* gain, float* y, std::int64_t n);
/// sum dy[i] * gain[i] * x[i]
float dot(const float* dy, const float* gain, const float* x, std::int64_t n);
/// dx[i] = residual[i] + scale * dy[i] * gain[i] - x_scale * x[i];
/// dgain[i] += dy[i] * x[i] * scale. dx may be residual.
void norm_gradient(const float* dy, const float* gain, const float* x, const float* residual,
                   float scale, float x_scale, float* dx, float* dgain, std::int64_t n);

/// y[i] = gate[i] / (1 + e^-gate[i]) * up[i]
void swiglu(const float* gate, const float* up, float* y, std::int64_t n);
/// Gradients of swiglu; dgate and dup may be gate and up.
void swiglu_gradient(const float* dy, const float* gate, const float* up, float* dgate, float* dup,
                     std::int64_t n);

/// Rotates the pairs (x[i], x[i + half]) by the angles whose cosines and sines are given.
void rotate_halves(float* x, const float* cosine, const float* sine, std::int64_t half);

float maximum(const float* a, std::int64_t n);
/// a[i] = e^(a[i] - offset); returns the sum.
float exponentials(float* a, float offset, std::int64_t n);
/// sum e^(a[i] - offset)
float sum_of_exponentials(const float* a, float offset, std::int64_t n);
/// a[i] *= factor
void multiply(float* a, float factor, std::int64_t n);
/// y[i] += x[i]
void add(const float* x, float* y, std::int64_t n);

}  // namespace penstock::kernels::rows
