#include "kernels/newton_schulz_symmetric.h"

#include <algorithm>

namespace penstock::kernels {
namespace {

/// Small enough for a tile of it and of its mirror image to stay in the first cache.
constexpr std::int64_t tile = 16;

/// Above the diagonal: columns [from, to) of the rows before `from` <- rows [from, to).
template <class T>
void mirror(T* values, std::int64_t n, std::int64_t from, std::int64_t to) {
  for (std::int64_t row = 0; row < from; row += tile) {
    const std::int64_t row_end = std::min(from, row + tile);
    for (std::int64_t column = from; column < to; column += tile) {
      const std::int64_t column_end = std::min(to, column + tile);
      for (std::int64_t i = row; i < row_end; ++i) {
        for (std::int64_t j = column; j < column_end; ++j) values[i * n + j] = values[j * n + i];
      }
    }
  }
}

void mirror(at::Tensor& out, std::int64_t from, std::int64_t to) {
  const std::int64_t n = out.size(0);
  if (out.scalar_type() == at::kFloat) {
    mirror(out.mutable_data_ptr<float>(), n, from, to);
  } else {
    mirror(out.mutable_data_ptr<at::BFloat16>(), n, from, to);
  }
}

/// Calls multiply(rows [from, to) of `out` up to column `to`, from, to) for every row of blocks.
template <class Multiply>
void for_rows_of_blocks(at::Tensor& out, std::int64_t block, const Multiply& multiply) {
  const std::int64_t n = out.size(0);
  for (std::int64_t from = 0; from < n; from += block) {
    const std::int64_t to = std::min(n, from + block);
    at::Tensor rows = out.slice(0, from, to).slice(1, 0, to);
    multiply(rows, from, to);
    mirror(out, from, to);
  }
}

}  // namespace

void symmetric_product(const at::Tensor& x, at::Tensor& out, std::int64_t block) {
  const at::Tensor transposed = x.t();
  for_rows_of_blocks(out, block, [&](at::Tensor& rows, std::int64_t from, std::int64_t to) {
    at::mm_out(rows, x.slice(0, from, to), transposed.slice(1, 0, to));
  });
}

void symmetric_quadratic(const at::Tensor& a, double b, double c, at::Tensor& out,
                         std::int64_t block) {
  for_rows_of_blocks(out, block, [&](at::Tensor& rows, std::int64_t from, std::int64_t to) {
    const at::Tensor left = a.slice(0, from, to);
    at::addmm_out(rows, left.slice(1, 0, to), left, a.slice(1, 0, to), b, c);
  });
}

}  // namespace penstock::kernels
