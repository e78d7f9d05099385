#include "kernels/block_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/rows.h"

namespace penstock::kernels {
namespace {

template <class T>
using Word = std::conditional_t<std::is_same_v<T, float>, float, rows::Bf16Bits>;

template <class T>
const rows::Loops<Word<T>>& loops() {
  return rows::loops<Word<T>>();
}

template <class T>
Word<T>* words(T* p) {
  return reinterpret_cast<Word<T>*>(p);
}
template <class T>
const Word<T>* words(const T* p) {
  return reinterpret_cast<const Word<T>*>(p);
}

}  // namespace

template <class T>
void causal_softmax(std::int64_t rows, std::int64_t keys, std::int64_t first, float scale,
                    Block<float> s, Block<T> p, float* sums, float* log_sum) {
  const std::int64_t whole = (keys + score_lanes - 1) / score_lanes * score_lanes;
  for (std::int64_t row = 0; row < rows; ++row) {
    float* scores = s.data + row * s.stride;
    const std::int64_t seen = std::min(keys, first + row + 1);
    std::fill(scores + seen, scores + whole, -std::numeric_limits<float>::infinity());
    const float offset = loops<T>().maximum(scores, whole) * scale;
    sums[row] = loops<T>().shifted_exponentials(scores, scale, offset,
                                                words(p.data + row * p.stride), whole);
    log_sum[row] = offset + std::log(sums[row]);
  }
}

template <class T>
void divide_rows(std::int64_t rows, std::int64_t columns, Block<const float> o, const float* sums,
                 Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    loops<T>().scale(o.data + row * o.stride, 1.0F / sums[row], words(out.data + row * out.stride),
                     columns);
  }
}

template <class T>
void dot_rows(std::int64_t rows, std::int64_t columns, Block<const T> a, Block<const T> b,
              float* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    out[row] =
        loops<T>().dot(words(a.data + row * a.stride), words(b.data + row * b.stride), columns);
  }
}

template <class T>
void softmax_gradient(const ScoreGradient& block, Block<const float> s, Block<const float> dp,
                      Block<T> p, Block<T> ds, Block<T> paired) {
  for (std::int64_t key = 0; key < block.keys; ++key) {
    auto* p_row = words(p.data + key * p.stride);
    auto* ds_row = words(ds.data + key * ds.stride);
    // Whole vectors; what they hold of queries before the key is overwritten.
    const std::int64_t begin = std::clamp<std::int64_t>(key - block.first, 0, block.queries);
    const std::int64_t from = begin / score_lanes * score_lanes;
    loops<T>().score_gradient(s.data + key * s.stride + from, dp.data + key * dp.stride + from,
                              block.scale, block.log_sum + from, block.delta + from, p_row + from,
                              ds_row + from, block.queries - from);
    for (auto* row : {p_row, ds_row}) {
      std::fill(row, row + begin, Word<T>{});
      std::fill(row + block.queries, row + block.columns, Word<T>{});
    }
  }
  if constexpr (std::is_same_v<T, at::BFloat16>) {
    pack(block.keys, block.columns, Block<const T>{ds.data, ds.stride}, paired);
  }
}

template <class T>
void store_rows(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    loops<T>().scale(in.data + row * in.stride, 1.0F, words(out.data + row * out.stride), columns);
  }
}

template <class T>
void store_sum(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<const T> other,
               Block<T> out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    loops<T>().sum(in.data + row * in.stride, words(other.data + row * other.stride),
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
