#pragma once
// Matrix products of any size out of block products (kernels/block_product.h). What becomes of a
// finished tile of the result is up to the caller, while the tile is in the cache: adding a
// residual, rounding, adding to an accumulator. T: float or at::BFloat16.
// Sums are formed in fp32, in the order of `depth`; results do not depend on the number of threads.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/operation_profile.h"
#include "kernels/block_product.h"

namespace penstock::kernels {

// Operands of a tile fit into a core's second cache, together with its result.
inline constexpr std::int64_t tile_rows = 64;
inline constexpr std::int64_t tile_columns = 256;
inline constexpr std::int64_t tile_depth = 256;

template <class T>
inline constexpr bool in_pairs = std::is_same_v<T, at::BFloat16>;

/// Whether products with this contiguous matrix can be made of blocks.
inline bool goes_into_blocks(const at::Tensor& matrix) {
  return matrix.is_cpu() && matrix.is_contiguous() && has_block_products(matrix.scalar_type());
}

/// Whether rows of `depth` elements can be a left operand as they lie: bf16 takes them in pairs.
inline bool is_left_depth(at::ScalarType type, std::int64_t depth) {
  return type == at::kFloat || depth % 2 == 0;
}

/// Of a product of rows [N, .] with, or to, a matrix [out, in].
inline OperationWork product_work(const at::Tensor& rows, const at::Tensor& matrix) {
  return {.flops = 2.0 * static_cast<double>(rows.size(0)) * static_cast<double>(matrix.numel())};
}

/// The second operand b [depth, columns], laid out for block_product(); for bf16 with an odd depth
/// a row of zeros is added.
template <class T>
class RightOperand {
 public:
  /// b = matrix, which is contiguous and must outlive this object.
  static RightOperand plain(const at::Tensor& matrix) {
    RightOperand b(matrix.size(0), matrix.size(1));
    const Block<const T> rows{matrix.const_data_ptr<T>(), matrix.size(1)};
    if constexpr (in_pairs<T>) {
      const Block<T> packed = b.allocate(b.columns_);
      for_rows(b.depth_, b.columns_, [&](std::int64_t first, std::int64_t count) {
        pack(count, b.columns_, {rows.data + first * rows.stride, rows.stride},
             {packed.data + first * packed.stride, packed.stride});
      });
    } else {
      b.block_ = rows;
    }
    return b;
  }
  /// b = matrix^T
  static RightOperand transposed(const at::Tensor& matrix) {
    RightOperand b(matrix.size(1), matrix.size(0));
    const T* rows = matrix.const_data_ptr<T>();
    const Block<T> packed = b.allocate(spread_stride<T>(b.columns_));
    for_rows(b.columns_, b.depth_, [&](std::int64_t first, std::int64_t count) {
      pack_transposed(count, b.depth_, {rows + first * b.depth_, b.depth_},
                      {packed.data + (in_pairs<T> ? 2 : 1) * first, packed.stride});
    });
    return b;
  }

  std::int64_t depth() const { return in_pairs<T> ? depth_ + depth_ % 2 : depth_; }
  std::int64_t columns() const { return columns_; }
  Block<const T> at(std::int64_t depth, std::int64_t column) const {
    if constexpr (in_pairs<T>) {
      return {block_.data + depth * block_.stride + 2 * column, block_.stride};
    } else {
      return {block_.data + depth * block_.stride + column, block_.stride};
    }
  }

 private:
  RightOperand(std::int64_t depth, std::int64_t columns) : depth_(depth), columns_(columns) {}
  /// Calls work(first, count) for all rows, in parallel where they are many; `first` is even.
  template <class Work>
  static void for_rows(std::int64_t rows, std::int64_t columns, Work work) {
    constexpr std::int64_t elements = std::int64_t{1} << 16;  // of a task, at least
    const std::int64_t share = std::max<std::int64_t>(elements / columns / 2 * 2, 2);
    at::parallel_for(0, (rows + share - 1) / share, 1, [&](std::int64_t begin, std::int64_t end) {
      work(begin * share, std::min(end * share, rows) - begin * share);
    });
  }
  Block<T> allocate(std::int64_t stride) {
    const auto type = c10::CppTypeToScalarType<T>::value;
    storage_ = at::empty({(depth_ + 1) / 2 * 2 * stride}, at::dtype(type));
    block_ = {storage_.const_data_ptr<T>(), stride};
    return {storage_.mutable_data_ptr<T>(), stride};
  }

  std::int64_t depth_;
  std::int64_t columns_;
  at::Tensor storage_;
  Block<const T> block_;
};

/// c (+)= left b for `rows` <= tile_rows rows of the left operand and all columns of b.
/// tile(column, count) says where columns [column, column + count) of c are to be formed,
/// done(column, count) is called when they are.
template <class T, class Tile, class Done>
void multiply_rows(std::int64_t rows, Block<const T> left, const RightOperand<T>& b, Into into,
                   Tile tile, Done done) {
  for (std::int64_t column = 0; column < b.columns(); column += tile_columns) {
    const std::int64_t count = std::min(tile_columns, b.columns() - column);
    const Block<float> c = tile(column, count);
    for (std::int64_t k = 0; k < b.depth(); k += tile_depth) {
      block_product({rows, count, std::min(tile_depth, b.depth() - k)},
                    Block<const T>{left.data + k, left.stride}, b.at(k, column), c,
                    k == 0 ? into : Into::add);
    }
    done(column, count);
  }
}

/// Calls work(first, count) for all panels of tile_rows rows or fewer, in parallel.
template <class T, class Work>
void for_panels(std::int64_t rows, Work work) {
  const std::int64_t panels = (rows + tile_rows - 1) / tile_rows;
  at::parallel_for(0, panels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto panel = begin; panel < end; ++panel) {
      work(panel * tile_rows, std::min(tile_rows, rows - panel * tile_rows));
    }
    end_block_products(c10::CppTypeToScalarType<T>::value);
  });
}

/// [residual +] left b, rounded once to the type of `left` [N, depth]; residual [N, columns]. All
/// are contiguous, and the depth is even for bf16.
at::Tensor multiply(const at::Tensor& left, const RightOperand<float>& b,
                    const at::Tensor& residual = {});
at::Tensor multiply(const at::Tensor& left, const RightOperand<at::BFloat16>& b,
                    const at::Tensor& residual = {});

}  // namespace penstock::kernels
