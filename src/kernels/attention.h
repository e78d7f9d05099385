#pragma once
// Causal grouped-query attention over a fused projection: on a CPU with AVX-512 in blocks
// (kernels/block_attention.h), on others through LibTorch's flash kernel, elsewhere composed of
// products (kernels/composed.h).
// Source: Dao et al. 2022, arXiv 2205.14135; Ainslie et al. 2023, arXiv 2305.13245.
// Shapes: B sequences, T tokens, H query heads, K key/value heads (H a multiple of K), D head
// width; qkv [B*T, (H+2K)*D] holds queries, keys, values in this order, already rotated.
// Scale 1/sqrt(D). Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

struct HeadShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t width = 0;  // D
};

struct Attended {
  at::Tensor y;        // [B*T, H*D]
  at::Tensor log_sum;  // what the kernel keeps for its backward
};

Attended attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences);

/// dL/dqkv for dy = dL/dy.
at::Tensor attention_backward(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
                              const HeadShape& shape, std::int64_t sequences);

}  // namespace penstock::kernels
