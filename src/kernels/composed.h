#pragma once
// The fused operations of this folder as sequences of ATen operations: for tensors of any device.
// The functions in kernels/*.h use them for tensors that are not on the CPU. Shapes, types and
// formulas are theirs; arithmetic is fp32 as there, sums are formed in another order. Every tensor
// made here is on its inputs' device, and results are the same bits every time. Threads: any.

#include <ATen/ATen.h>

#include "kernels/attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace penstock::kernels::composed {

/// Products are LibTorch's; in bf16 each weight gradient is rounded before it is added in fp32.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);
at::Tensor linear_add(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight);
at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight);
void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x);

Normalized rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& gain,
                             const at::Tensor& inverse_rms, const at::Tensor& residual,
                             at::Tensor gain_gradient);

/// The tables must be on x's device; N is a multiple of `positions`.
void rotate(at::Tensor x, std::int64_t heads, std::int64_t head_width, std::int64_t positions,
            const RotaryTables& tables, Rotation direction);

at::Tensor swiglu(const at::Tensor& gate_up);
at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up);

/// The sum of the losses stays on the device: a scalar in fp64.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets);
at::Tensor cross_entropy_with_gradient(at::Tensor logits, const at::Tensor& targets,
                                       double gradient_scale);

/// So many queries of each sequence are worked on at once: their scores, in fp32, are what the
/// attention needs besides its results.
std::int64_t queries_at_once(const HeadShape& shape, std::int64_t sequences, std::int64_t tokens);
Attended attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences,
                   std::int64_t queries);
at::Tensor attention_backward(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
                              const HeadShape& shape, std::int64_t sequences, std::int64_t queries);

/// Rows of equal tokens are added in their order, on a CPU with one intra-op thread.
void add_embedding_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& tokens);

}  // namespace penstock::kernels::composed
