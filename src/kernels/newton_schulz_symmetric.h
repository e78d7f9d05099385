#pragma once
// Matrix products whose result is symmetric, for about half the multiplications of plain ones: rows
// are computed block by block, each block up to the diagonal, and mirrored. k blocks cost
// (1 + 1/k) / 2 of the plain product. Results are symmetric to the bit across blocks, and equal to
// the plain products but for rounding. CPU only; fp32 or bf16. Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// out = x x^T for x [n, k]; out [n, n], contiguous, which is not x; blocks of `block` >= 1 rows.
void symmetric_product(const at::Tensor& x, at::Tensor& out, std::int64_t block);

/// out = b a + c a a for a symmetric a [n, n]. `out` is not a.
void symmetric_quadratic(const at::Tensor& a, double b, double c, at::Tensor& out,
                         std::int64_t block);

}  // namespace penstock::kernels
