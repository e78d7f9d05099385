#include "kernels/attention_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/vectorize.h"
#include "kernels/exp.h"

namespace penstock::kernels {
namespace {

// Partial results of a reduction, formed in the same order by every instruction set.
constexpr std::int64_t lanes = score_lanes;

/// bf16, rounded to the nearest, ties to even; of finite values.
inline __attribute__((always_inline)) std::uint16_t rounded(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}
inline __attribute__((always_inline)) float widened(std::uint16_t x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16U);
}

// How a value of T lies in memory.
template <class T>
struct Stored;
template <>
struct Stored<float> {
  using Word = float;
  static inline __attribute__((always_inline)) float put(float x) { return x; }
  static inline __attribute__((always_inline)) float get(float x) { return x; }
};
template <>
struct Stored<at::BFloat16> {
  using Word = std::uint16_t;
  // NaN must stay NaN, so that a broken loss is seen: the largest values only ever come from it.
  static inline __attribute__((always_inline)) Word put(float x) {
    return x != x ? Word{0x7fc0} : rounded(x);
  }
  static inline __attribute__((always_inline)) float get(Word x) { return widened(x); }
};

template <class T>
typename Stored<T>::Word* words(T* p) {
  return reinterpret_cast<typename Stored<T>::Word*>(p);
}
template <class T>
const typename Stored<T>::Word* words(const T* p) {
  return reinterpret_cast<const typename Stored<T>::Word*>(p);
}

// Both take whole vectors: n is a multiple of `lanes`.
PENSTOCK_VECTORIZE
float maximum(const float* a, std::int64_t n) {
  float partial[lanes];
  for (float& value : partial) value = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) {
      partial[l] = a[i + l] > partial[l] ? a[i + l] : partial[l];
    }
  }
  float result = partial[0];
  for (const float value : partial) result = value > result ? value : result;
  return result;
}

template <class T>
PENSTOCK_VECTORIZE_TEMPLATE float exponentials(const float* s, float scale, float offset,
                                               typename Stored<T>::Word* p, std::int64_t n) {
  float partial[lanes] = {};
  for (std::int64_t i = 0; i < n; i += lanes) {
    for (std::int64_t l = 0; l < lanes; ++l) {
      const float e = exp_approx(s[i + l] * scale - offset);
      partial[l] += e;
      p[i + l] = Stored<T>::put(e);
    }
  }
  float sum = 0;
  for (const float value : partial) sum += value;
  return sum;
}

template <class T>
PENSTOCK_VECTORIZE_TEMPLATE void scaled_row(const float* in, float factor,
                                            typename Stored<T>::Word* out, std::int64_t n) {
  PENSTOCK_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < n; ++i) out[i] = Stored<T>::put(in[i] * factor);
}

template <class T>
PENSTOCK_VECTORIZE_TEMPLATE void sum_row(const float* in, const typename Stored<T>::Word* other,
                                         typename Stored<T>::Word* out, std::int64_t n) {
  PENSTOCK_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < n; ++i) out[i] = Stored<T>::put(in[i] + Stored<T>::get(other[i]));
}

template <class T>
PENSTOCK_VECTORIZE_TEMPLATE float dot(const typename Stored<T>::Word* a,
                                      const typename Stored<T>::Word* b, std::int64_t n) {
  float partial[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::int64_t l = 0; l < 16; ++l) {
      partial[l] += Stored<T>::get(a[i + l]) * Stored<T>::get(b[i + l]);
    }
  }
  for (; i < n; ++i) partial[i % 16] += Stored<T>::get(a[i]) * Stored<T>::get(b[i]);
  float sum = 0;
  for (const float value : partial) sum += value;
  return sum;
}

/// One row of softmax_gradient() for the queries [begin, end).
template <class T>
PENSTOCK_VECTORIZE_TEMPLATE void gradient_row(const float* s, const float* dp, float scale,
                                              const float* log_sum, const float* delta,
                                              typename Stored<T>::Word* p,
                                              typename Stored<T>::Word* ds, std::int64_t begin,
                                              std::int64_t end) {
  PENSTOCK_INDEPENDENT_ITERATIONS
  for (std::int64_t i = begin; i < end; ++i) {
    const float e = exp_approx(s[i] * scale - log_sum[i]);
    p[i] = Stored<T>::put(e);
    ds[i] = Stored<T>::put(scale * e * (dp[i] - delta[i]));
  }
}

}  // namespace

template <class T>
void causal_softmax(std::int64_t rows, std::int64_t keys, std::int64_t first, float scale,
                    Block<float> s, Block<T> p, float* sums, float* log_sum) {
  const std::int64_t whole = (keys + lanes - 1) / lanes * lanes;
  for (std::int64_t row = 0; row < rows; ++row) {
    float* scores = s.data + row * s.stride;
    const std::int64_t seen = std::min(keys, first + row + 1);
    std::fill(scores + seen, scores + whole, -std::numeric_limits<float>::infinity());
    const float offset = maximum(scores, whole) * scale;
    sums[row] = exponentials<T>(scores, scale, offset, words(p.data + row * p.stride), whole);
    log_sum[row] = offset + std::log(sums[row]);
  }
}

template <class T>
void divide_rows(std::int64_t rows, std::int64_t columns, Block<const float> o, const float* sums,
                 Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    scaled_row<T>(o.data + row * o.stride, 1.0F / sums[row], words(out.data + row * out.stride),
                  columns);
  }
}

template <class T>
void dot_rows(std::int64_t rows, std::int64_t columns, Block<const T> a, Block<const T> b,
              float* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    out[row] = dot<T>(words(a.data + row * a.stride), words(b.data + row * b.stride), columns);
  }
}

template <class T>
void softmax_gradient(const ScoreGradient& block, Block<const float> s, Block<const float> dp,
                      Block<T> p, Block<T> ds, Block<T> paired) {
  using Word = typename Stored<T>::Word;
  for (std::int64_t key = 0; key < block.keys; ++key) {
    auto* p_row = words(p.data + key * p.stride);
    auto* ds_row = words(ds.data + key * ds.stride);
    // Whole vectors; what they hold of queries before the key is overwritten.
    const std::int64_t begin = std::clamp<std::int64_t>(key - block.first, 0, block.queries);
    gradient_row<T>(s.data + key * s.stride, dp.data + key * dp.stride, block.scale, block.log_sum,
                    block.delta, p_row, ds_row, begin / lanes * lanes, block.queries);
    for (auto* row : {p_row, ds_row}) {
      std::fill(row, row + begin, Word{});
      std::fill(row + block.queries, row + block.columns, Word{});
    }
  }
  if constexpr (std::is_same_v<T, at::BFloat16>) {
    pack(block.keys, block.columns, Block<const T>{ds.data, ds.stride}, paired);
  }
}

template <class T>
void store_rows(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    scaled_row<T>(in.data + row * in.stride, 1.0F, words(out.data + row * out.stride), columns);
  }
}

template <class T>
void store_sum(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<const T> other,
               Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    sum_row<T>(in.data + row * in.stride, words(other.data + row * other.stride),
               words(out.data + row * out.stride), columns);
  }
}

#define PENSTOCK_INSTANTIATE(T)                                                                   \
  template void causal_softmax<T>(std::int64_t, std::int64_t, std::int64_t, float, Block<float>,  \
                                  Block<T>, float*, float*);                                      \
  template void divide_rows<T>(std::int64_t, std::int64_t, Block<const float>, const float*,      \
                               Block<T>);                                                         \
  template void dot_rows<T>(std::int64_t, std::int64_t, Block<const T>, Block<const T>, float*);  \
  template void softmax_gradient<T>(const ScoreGradient&, Block<const float>, Block<const float>, \
                                    Block<T>, Block<T>, Block<T>);                                \
  template void store_rows<T>(std::int64_t, std::int64_t, Block<const float>, Block<T>);          \
  template void store_sum<T>(std::int64_t, std::int64_t, Block<const float>, Block<const T>,      \
                             Block<T>);
PENSTOCK_INSTANTIATE(float)
PENSTOCK_INSTANTIATE(at::BFloat16)
#undef PENSTOCK_INSTANTIATE

}  // namespace penstock::kernels
