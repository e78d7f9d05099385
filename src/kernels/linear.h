#pragma once
// Linear layers without bias: y = x W^T.
// Shapes: x [N, in], W [out, in], y [N, out], contiguous. Compute in the type of x and W, with sums
// in fp32; weight gradients are added to in fp32. Any device; on a CPU with AVX-512, for bf16 with
// AVX512-BF16 or AMX, by products of blocks (kernels/blocked_product.h), whose bits do not depend
// on the number of threads, otherwise by LibTorch's. Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// y
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

/// residual + y, rounded once. residual [N, out]
at::Tensor linear_add(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight);

/// dL/dx = dy W
at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight);

/// gradient [out, in] fp32 += dy^T x
void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x);

}  // namespace penstock::kernels
