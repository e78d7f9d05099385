#pragma once
// Gradient of a table look-up.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// gradient [V, C] fp32: row tokens[n] += dy[n] for n = 0, 1, ..., in this order.
/// dy [N, C] fp32 or bf16, tokens [N] int64.
void add_embedding_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& tokens);

}  // namespace penstock::kernels
