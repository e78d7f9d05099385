#pragma once
// RMSNorm: y = x r g with r = 1 / sqrt(mean(x^2) + eps). Source: Zhang and Sennrich 2019,
// arXiv 1910.07467. Statistics in fp32 for every input type.
// Shapes: N tokens, C width. Errors: none. Threads: any; results do not depend on their number.

#include <ATen/ATen.h>

namespace penstock::kernels {

struct Normalized {
  at::Tensor y;            // [N, C], type of x
  at::Tensor inverse_rms;  // [N] fp32
};

Normalized rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);

/// Returns residual + dL/dx for dy = dL/dy [N, C], and adds dL/dgain to gain_gradient [C] fp32.
/// An undefined residual is zero.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& gain,
                             const at::Tensor& inverse_rms, const at::Tensor& residual,
                             at::Tensor gain_gradient);

}  // namespace penstock::kernels
