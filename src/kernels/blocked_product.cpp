#include "kernels/blocked_product.h"

#include "kernels/block_rows.h"

namespace penstock::kernels {

using at::BFloat16;

at::Tensor multiply(const at::Tensor& left, const RightOperand<float>& b,
                    const at::Tensor& residual) {
  const std::int64_t columns = b.columns();
  at::Tensor y = at::empty({left.size(0), columns}, left.options());
  const auto* from = left.const_data_ptr<float>();
  const auto* skip = residual.defined() ? residual.const_data_ptr<float>() : nullptr;
  auto* to = y.mutable_data_ptr<float>();
  for_panels<float>(left.size(0), [&](std::int64_t first, std::int64_t rows) {
    const auto tile = [&](std::int64_t column, std::int64_t count) {
      const std::int64_t start = first * columns + column;
      if (skip != nullptr) {
        store_rows<float>(rows, count, {skip + start, columns}, {to + start, columns});
      }
      return Block<float>{to + start, columns};
    };
    multiply_rows<float>(rows, {from + first * left.size(1), left.size(1)}, b,
                         skip != nullptr ? Into::add : Into::overwrite, tile, [](auto, auto) {});
  });
  return y;
}

at::Tensor multiply(const at::Tensor& left, const RightOperand<BFloat16>& b,
                    const at::Tensor& residual) {
  const std::int64_t columns = b.columns();
  at::Tensor y = at::empty({left.size(0), columns}, left.options());
  const auto* from = left.const_data_ptr<BFloat16>();
  const auto* skip = residual.defined() ? residual.const_data_ptr<BFloat16>() : nullptr;
  auto* to = y.mutable_data_ptr<BFloat16>();
  for_panels<BFloat16>(left.size(0), [&](std::int64_t first, std::int64_t rows) {
    alignas(64) float sums[tile_rows * tile_columns];
    const Block<float> tile{sums, tile_columns};
    const auto round = [&](std::int64_t column, std::int64_t count) {
      const std::int64_t start = first * columns + column;
      const Block<BFloat16> out{to + start, columns};
      if (skip != nullptr) {
        store_sum<BFloat16>(rows, count, tile, {skip + start, columns}, out);
      } else {
        store_rows<BFloat16>(rows, count, tile, out);
      }
    };
    multiply_rows<BFloat16>(
        rows, {from + first * left.size(1), left.size(1)}, b, Into::overwrite,
        [&](auto, auto) { return tile; }, round);
  });
  return y;
}

}  // namespace penstock::kernels
