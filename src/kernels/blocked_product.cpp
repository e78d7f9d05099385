#include "kernels/blocked_product.h"

#include "kernels/block_rows.h"

namespace penstock::kernels {
namespace {

using at::BFloat16;

/// y = left b + residual; all of them dense.
template <class T>
struct Product {
  const RightOperand<T>& b;
  std::int64_t depth;
  std::int64_t columns;
  const T* left;
  const T* residual;  // null: none
  T* y;
};

/// The residual is where the sum is to be: the products are added to it.
void multiply_panel(const Product<float>& of, std::int64_t first, std::int64_t rows) {
  const auto tile = [&](std::int64_t column, std::int64_t count) {
    const std::int64_t start = first * of.columns + column;
    const Block<float> out{of.y + start, of.columns};
    if (of.residual != nullptr) {
      store_rows<float>(rows, count, {of.residual + start, of.columns}, out);
    }
    return out;
  };
  multiply_rows<float>(rows, {of.left + first * of.depth, of.depth}, of.b,
                       of.residual != nullptr ? Into::add : Into::overwrite, tile,
                       [](auto, auto) {});
}

/// Sums are formed in fp32 and rounded once, with the residual.
void multiply_panel(const Product<BFloat16>& of, std::int64_t first, std::int64_t rows) {
  alignas(64) float sums[tile_rows * tile_columns];
  const Block<float> tile{sums, tile_columns};
  const auto round = [&](std::int64_t column, std::int64_t count) {
    const std::int64_t start = first * of.columns + column;
    const Block<BFloat16> out{of.y + start, of.columns};
    if (of.residual != nullptr) {
      store_sum<BFloat16>(rows, count, tile, {of.residual + start, of.columns}, out);
    } else {
      store_rows<BFloat16>(rows, count, tile, out);
    }
  };
  multiply_rows<BFloat16>(
      rows, {of.left + first * of.depth, of.depth}, of.b, Into::overwrite,
      [&](auto, auto) { return tile; }, round);
}

template <class T>
at::Tensor multiply_panels(const at::Tensor& left, const RightOperand<T>& b,
                           const at::Tensor& residual) {
  at::Tensor y = at::empty({left.size(0), b.columns()}, left.options());
  const Product<T> product{.b = b,
                           .depth = left.size(1),
                           .columns = b.columns(),
                           .left = left.const_data_ptr<T>(),
                           .residual = residual.defined() ? residual.const_data_ptr<T>() : nullptr,
                           .y = y.mutable_data_ptr<T>()};
  for_panels<T>(left.size(0), [&](std::int64_t first, std::int64_t rows) {
    multiply_panel(product, first, rows);
  });
  return y;
}

}  // namespace

at::Tensor multiply(const at::Tensor& left, const RightOperand<float>& b,
                    const at::Tensor& residual) {
  return multiply_panels(left, b, residual);
}

at::Tensor multiply(const at::Tensor& left, const RightOperand<BFloat16>& b,
                    const at::Tensor& residual) {
  return multiply_panels(left, b, residual);
}

}  // namespace penstock::kernels
