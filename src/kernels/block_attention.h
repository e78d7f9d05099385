#pragma once
// Attention on the CPU in blocks of queries, with products of cached blocks (kernels/
// block_product.h): what a query's row of T scores needs is formed, used and forgotten, so memory
// grows with T and not with T^2, and what causality masks is not computed. The backward forms
// scores again, transposed, because then every product finds its operand as it lies.
// Source: Dao et al. 2022, arXiv 2205.14135, Dao 2023, arXiv 2307.08691; unlike there, a block of
// queries meets all its keys at once, and nothing is rescaled: a core's second cache holds the
// scores of some thousand keys, and longer sequences read them from the third.
// Shapes and types: kernels/attention.h. Softmax and sums in fp32; bf16 products take
// probabilities in bf16. Threads: any; results do not depend on their number.

#include "kernels/attention.h"

namespace penstock::kernels {

/// Whether this machine, type and head width are served. If not, use LibTorch's kernel.
bool has_block_attention(const at::Tensor& qkv, const HeadShape& shape);

/// log_sum: [B, H, T] fp32, log sum_j e^(q_i k_j / sqrt(D)).
Attended block_attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences);

at::Tensor block_attention_backward(const at::Tensor& dy, const at::Tensor& qkv,
                                    const Attended& forward, const HeadShape& shape,
                                    std::int64_t sequences);

}  // namespace penstock::kernels
