#pragma once
// The loops of the fused operations over rows, for elements of fp32 and bf16, in code for several
// instruction sets of which the best that this processor has is chosen at run time.
//
// Arithmetic is fp32; bf16 elements become floats where they are loaded and are rounded, to nearest
// and ties to even, where they are stored; NaN stays NaN. With avx512_bf16 the processor rounds,
// and makes zeros of what is below 2^-126 when it is stored as bf16. Sums are formed in an order
// that depends on the width of a row and the instruction set only. Tensors are contiguous [rows,
// width] and do not overlap unless said so. Thread-safe.

#include <cstdint>
#include <vector>

namespace penstock::kernels::rows {

using Bf16Bits = std::uint16_t;

/// Rows of pairs (x[i], x[i + half]) in the first `heads` heads of 2 half elements.
struct Rotations {
  std::int64_t row_width;
  std::int64_t heads;
  std::int64_t half;
  std::int64_t positions;  ///< row n is at position n mod positions
  const float* cosines;    ///< [positions, half]
  const float* sines;
  float direction;  ///< 1, or -1 for the inverse
};

/// T is float or Bf16Bits.
template <class T>
struct Loops {
  /// inverse_rms[n] = 1 / sqrt(mean(x[n]^2) + eps); y[n] = x[n] inverse_rms[n] gain.
  void (*norm)(const T* x, const T* gain, double eps, T* y, float* inverse_rms, std::int64_t rows,
               std::int64_t width);
  /// dx = residual + dL/dx of the norm; adds dL/dgain. residual may be null (zeros), or dx.
  void (*norm_gradient)(const T* dy, const T* x, const T* gain, const float* inverse_rms,
                        const T* residual, T* dx, float* gain_gradient, std::int64_t rows,
                        std::int64_t width);
  /// Rotates rows [begin, end) of x in place.
  void (*rotate)(T* x, const Rotations& rotations, std::int64_t begin, std::int64_t end);
  /// y [rows, width] = silu(gate) up, with gate_up [rows, 2 width].
  void (*swiglu)(const T* gate_up, T* y, std::int64_t rows, std::int64_t width);
  /// Its gradient [rows, 2 width].
  void (*swiglu_gradient)(const T* dy, const T* gate_up, T* gradient, std::int64_t rows,
                          std::int64_t width);
  /// losses[n] = log sum_v e^logits[n, v] - logits[n, target[n]]
  void (*cross_entropy)(const T* logits, const std::int64_t* target, double* losses,
                        std::int64_t rows, std::int64_t width);
  /// The same losses, and logits = scale d(losses)/dlogits. `scratch` has room for `width` floats.
  void (*cross_entropy_gradient)(T* logits, const std::int64_t* target, double scale,
                                 double* losses, float* scratch, std::int64_t rows,
                                 std::int64_t width);
  /// Columns [begin, end) of table[row[n]] += x[n] for n = 0, 1, ..., both `width` wide.
  void (*add_to_rows)(const T* x, const std::int64_t* row, float* table, std::int64_t rows,
                      std::int64_t width, std::int64_t begin, std::int64_t end);
  /// y[i] = e^x[i] for x[i] <= 88, as the losses use it: to a relative error below 2e-7 before it
  /// is stored, and 0 below -87; NaN stays NaN.
  void (*exponentials)(const T* x, T* y, std::int64_t n);

  /// The largest of n floats.
  float (*maximum)(const float* x, std::int64_t n);
  /// y[i] = e^(scale x[i] - offset), none of which is above 1 by more than rounding. Returns the
  /// sum of the y before they are stored.
  float (*shifted_exponentials)(const float* x, float scale, float offset, T* y, std::int64_t n);
  /// Of softmax scores s: p[i] = e^(scale s[i] - log_sum[i]), ds[i] = scale p[i] (dp[i] -
  /// delta[i]), p before it is stored. No p may be above 1 by more than rounding, except where the
  /// caller overwrites the results: there they are any number.
  void (*score_gradient)(const float* s, const float* dp, float scale, const float* log_sum,
                         const float* delta, T* p, T* ds, std::int64_t n);
  /// y[i] = factor x[i]
  void (*scale)(const float* x, float factor, T* y, std::int64_t n);
  /// y[i] = x[i] + other[i]
  void (*sum)(const float* x, const T* other, T* y, std::int64_t n);
  /// sum_i a[i] b[i]
  float (*dot)(const T* a, const T* b, std::int64_t n);

  void (*to_float)(const T* in, float* out, std::int64_t n);
  void (*from_float)(const float* in, T* out, std::int64_t n);
};

enum class InstructionSet { portable, avx2, avx512, avx512_bf16 };

/// Those that this build and this processor have; the first is portable, the last is used.
const std::vector<InstructionSet>& instruction_sets();

/// The loops in code of one of instruction_sets().
template <class T>
const Loops<T>& loops(InstructionSet set);

/// The loops in code of the last of instruction_sets().
template <class T>
const Loops<T>& loops();

void to_float(const Bf16Bits* in, float* out, std::int64_t n);
void to_bf16(const float* in, Bf16Bits* out, std::int64_t n);

/// y[i] += x[i]
void add(const float* x, float* y, std::int64_t n);

}  // namespace penstock::kernels::rows
