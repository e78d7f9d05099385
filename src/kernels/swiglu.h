#pragma once
// SwiGLU: y = silu(gate) * up, silu(x) = x / (1 + e^-x). Source: Shazeer 2020, arXiv 2002.05202.
// Shapes: N tokens, F feed-forward width; gate_up is [N, 2F], gate first. Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

at::Tensor swiglu(const at::Tensor& gate_up);

/// Returns dL/dgate_up [N, 2F] for dy = dL/dy [N, F].
at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up);

}  // namespace penstock::kernels
