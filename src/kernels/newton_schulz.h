#pragma once
// Approximate orthogonalisation: for G = U S V^T returns about U V^T (singular values land in
// about 0.7 .. 1.2). Five steps X <- a X + (b A + c A A) X with A = X X^T, from
// X = G / (|G|_F + 1e-7); coefficients of Jordan et al. 2024, "Muon".

#include <ATen/ATen.h>

namespace penstock::kernels {

/// gradient [r, c]; computed in `precision` (fp32 or bf16), returned in fp32. The smaller side is
/// worked on, so the cost is 10 r^2 c + 5 r^3 multiply-adds for r <= c. Any device. Threads: any.
at::Tensor newton_schulz(const at::Tensor& gradient, at::ScalarType precision);

}  // namespace penstock::kernels
