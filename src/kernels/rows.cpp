#include "kernels/rows.h"

#include <bit>
#include <limits>

#include "kernels/exp.h"
#include "kernels/vectorize.h"

namespace penstock::kernels::rows {
namespace {

// Reductions keep this many partial results, so that vector code forms them in the same order.
constexpr std::int64_t lanes = 16;

struct Partial {
  float value[lanes] = {};
  float sum() const {
    float total = 0;
    for (const float v : value) total += v;
    return total;
  }
};

}  // namespace

PENSTOCK_VECTORIZE
void to_float(const Bf16Bits* in, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(in[i]) << 16U);
  }
}

PENSTOCK_VECTORIZE
void to_bf16(const float* in, Bf16Bits* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
    const std::uint32_t quiet_nan = (bits >> 16U) | 0x40U;
    const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
    out[i] = static_cast<Bf16Bits>(is_nan ? quiet_nan : rounded);
  }
}

PENSTOCK_VECTORIZE
float sum_of_squares(const float* a, std::int64_t n) {
  Partial partial;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) partial.value[l] += a[i + l] * a[i + l];
  }
  for (; i < n; ++i) partial.value[i % lanes] += a[i] * a[i];
  return partial.sum();
}

PENSTOCK_VECTORIZE
void scale(const float* x, float scale, const float* gain, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * gain[i];
}

PENSTOCK_VECTORIZE
float dot(const float* dy, const float* gain, const float* x, std::int64_t n) {
  Partial partial;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) {
      partial.value[l] += dy[i + l] * gain[i + l] * x[i + l];
    }
  }
  for (; i < n; ++i) partial.value[i % lanes] += dy[i] * gain[i] * x[i];
  return partial.sum();
}

PENSTOCK_VECTORIZE
void norm_gradient(const float* dy, const float* gain, const float* x, const float* residual,
                   float scale, float x_scale, float* dx, float* dgain, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    dgain[i] += dy[i] * x[i] * scale;
    dx[i] = residual[i] + (scale * dy[i] * gain[i] - x_scale * x[i]);
  }
}

PENSTOCK_VECTORIZE
void swiglu(const float* gate, const float* up, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0F + exp_approx(-gate[i])) * up[i];
}

PENSTOCK_VECTORIZE
void swiglu_gradient(const float* dy, const float* gate, const float* up, float* dgate, float* dup,
                     std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gate[i];
    const float u = up[i];
    const float sigmoid = 1.0F / (1.0F + exp_approx(-g));
    const float silu = g * sigmoid;
    dup[i] = dy[i] * silu;
    dgate[i] = dy[i] * u * (sigmoid + silu * (1.0F - sigmoid));
  }
}

PENSTOCK_VECTORIZE
void rotate_halves(float* x, const float* cosine, const float* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cosine[i] - b * sine[i];
    x[i + half] = b * cosine[i] + a * sine[i];
  }
}

PENSTOCK_VECTORIZE
float maximum(const float* a, std::int64_t n) {
  float partial[lanes];
  for (float& value : partial) value = -std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) {
      partial[l] = a[i + l] > partial[l] ? a[i + l] : partial[l];
    }
  }
  for (; i < n; ++i) partial[0] = a[i] > partial[0] ? a[i] : partial[0];
  float result = partial[0];
  for (const float value : partial) result = value > result ? value : result;
  return result;
}

PENSTOCK_VECTORIZE
float exponentials(float* a, float offset, std::int64_t n) {
  Partial partial;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) {
      a[i + l] = exp_approx(a[i + l] - offset);
      partial.value[l] += a[i + l];
    }
  }
  for (; i < n; ++i) {
    a[i] = exp_approx(a[i] - offset);
    partial.value[i % lanes] += a[i];
  }
  return partial.sum();
}

PENSTOCK_VECTORIZE
float sum_of_exponentials(const float* a, float offset, std::int64_t n) {
  Partial partial;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) partial.value[l] += exp_approx(a[i + l] - offset);
  }
  for (; i < n; ++i) partial.value[i % lanes] += exp_approx(a[i] - offset);
  return partial.sum();
}

PENSTOCK_VECTORIZE
void multiply(float* a, float factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) a[i] *= factor;
}

PENSTOCK_VECTORIZE
void add(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace penstock::kernels::rows
