#pragma once
// Linear layers without bias: y = x W^T.
// Shapes: x [N, in], W [out, in], y [N, out]. Compute in the type of x and W; weight gradients are
// accumulated in fp32, in bf16 after rounding each product to bf16. Any device. Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// y
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

/// dL/dx = dy W
at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight);

/// gradient [out, in] fp32 += dy^T x
void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x);

}  // namespace penstock::kernels
