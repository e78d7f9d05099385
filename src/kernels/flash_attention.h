#pragma once
// Attention through LibTorch's flash kernel for the CPU. Shapes: kernels/attention.h. Threads: any.

#include "kernels/attention.h"

namespace penstock::kernels {

Attended flash_attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences);

at::Tensor flash_attention_backward(const at::Tensor& dy, const at::Tensor& qkv,
                                    const Attended& forward, const HeadShape& shape,
                                    std::int64_t sequences);

}  // namespace penstock::kernels
