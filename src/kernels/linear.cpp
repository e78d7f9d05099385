#include "kernels/linear.h"

#include <algorithm>
#include <utility>

#include "base/operation_profile.h"
#include "kernels/blocked_product.h"
#include "kernels/composed.h"

namespace penstock::kernels {
namespace {

using at::BFloat16;

bool in_blocks(const at::Tensor& left, const at::Tensor& weight) {
  return goes_into_blocks(left) && weight.is_contiguous() &&
         is_left_depth(left.scalar_type(), left.size(1));
}

/// gradient += dy^T x
template <class T>
void add_product(at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& x) {
  const std::int64_t tokens = dy.size(0);
  const std::int64_t out = dy.size(1);
  const std::int64_t in = x.size(1);
  const auto b = RightOperand<T>::plain(x);
  const auto* from = dy.const_data_ptr<T>();
  auto* sums = gradient.mutable_data_ptr<float>();
  for_panels<T>(out, [&](std::int64_t first, std::int64_t rows) {
    const std::int64_t stride = spread_stride<T>(b.depth());  // of the rows of dy^T
    const at::Tensor panel = at::empty({rows * stride}, dy.options());
    const Block<T> left{panel.mutable_data_ptr<T>(), stride};
    transpose(tokens, rows, Block<const T>{from + first, out}, left);
    if (b.depth() != tokens) {
      for (std::int64_t row = 0; row < rows; ++row) left.data[row * stride + tokens] = T(0);
    }
    const auto tile = [&](std::int64_t column, std::int64_t) {
      return Block<float>{sums + first * in + column, in};
    };
    multiply_rows<T>(rows, {left.data, stride}, b, Into::add, tile, [](auto, auto) {});
  });
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& residual) {
  return x.scalar_type() == at::kFloat
             ? multiply(x, RightOperand<float>::transposed(weight), residual)
             : multiply(x, RightOperand<BFloat16>::transposed(weight), residual);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  const OperationTimer timer("product forward", product_work(x, weight));
  return in_blocks(x, weight) ? product(x, weight, {}) : composed::linear(x, weight);
}

at::Tensor linear_add(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight) {
  const OperationTimer timer("product forward", product_work(x, weight));
  return in_blocks(x, weight) && residual.is_contiguous()
             ? product(x, weight, residual)
             : composed::linear_add(residual, x, weight);
}

at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight) {
  const OperationTimer timer("product dX", product_work(dy, weight));
  if (!in_blocks(dy, weight)) {
    return composed::linear_input_gradient(dy, weight);
  }
  return dy.scalar_type() == at::kFloat ? multiply(dy, RightOperand<float>::plain(weight))
                                        : multiply(dy, RightOperand<BFloat16>::plain(weight));
}

void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x) {
  const OperationTimer timer("product dW", product_work(dy, gradient));
  if (!goes_into_blocks(dy) || !x.is_contiguous() || !gradient.is_contiguous()) {
    composed::linear_add_weight_gradient(std::move(gradient), dy, x);
  } else if (dy.scalar_type() == at::kFloat) {
    add_product<float>(gradient, dy, x);
  } else {
    add_product<BFloat16>(gradient, dy, x);
  }
}

}  // namespace penstock::kernels
