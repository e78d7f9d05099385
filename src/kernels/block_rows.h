#pragma once
// What is done with blocks between their products: rounding, sums, attention's softmax and its
// gradient.
// T: float or at::BFloat16. Threads: any.

#include <ATen/ATen.h>

#include <cstdint>

#include "kernels/block_product.h"

namespace penstock::kernels {

/// causal_softmax() works on so many keys at a time.
inline constexpr std::int64_t score_lanes = 16;

/// For each of `rows` queries, the first at position `first`: p(j) = e^(scale (s(j) - max s)) for
/// the keys j <= its position, 0 for the others up to `keys`; sums(i) = sum p, log_sum(i) the
/// logarithm of what would be the sum without the maximum. p may be s. Writes both, s and p, up to
/// `keys` rounded up to whole score_lanes.
template <class T>
void causal_softmax(std::int64_t rows, std::int64_t keys, std::int64_t first, float scale,
                    Block<float> s, Block<T> p, float* sums, float* log_sum);

/// out(i, d) = o(i, d) / sums(i)
template <class T>
void divide_rows(std::int64_t rows, std::int64_t columns, Block<const float> o, const float* sums,
                 Block<T> out);

/// out(i) = sum_d a(i, d) b(i, d)
template <class T>
void dot_rows(std::int64_t rows, std::int64_t columns, Block<const T> a, Block<const T> b,
              float* out);

/// A block of the backward, transposed: row j is a key, column i a query.
struct ScoreGradient {
  std::int64_t keys = 0;
  std::int64_t queries = 0;
  std::int64_t columns = 0;  // >= queries; those beyond become 0
  std::int64_t first = 0;    // position of the first query
  float scale = 1;
  const float* log_sum = nullptr;  // [queries]
  const float* delta = nullptr;    // [queries]
};

/// p = e^(scale s - log_sum) where the key is not behind the query, else 0; ds = scale p (dp -
/// delta). For bf16 `paired` gets ds as block_product() wants its second operand, and for an odd
/// number of keys a row of zeros; in fp32 it is ds itself and not written.
template <class T>
void softmax_gradient(const ScoreGradient& block, Block<const float> s, Block<const float> dp,
                      Block<T> p, Block<T> ds, Block<T> paired);

/// out = in, in the type of out.
template <class T>
void store_rows(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<T> out);

/// out = in + other, rounded once.
template <class T>
void store_sum(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<const T> other,
               Block<T> out);

}  // namespace penstock::kernels
