#pragma once
// A linear layer and the cross-entropy of its softmax in one: loss(n) = log sum_v e^(x(n) w(v)) -
// x(n) w(target(n)), in nats. On a CPU with block products logits exist for one panel of rows at a
// time, in fp32 and never rounded; elsewhere for all rows given, in the type of x.
// Shapes: N tokens, C width, V vocabulary; x [N, C], weight [V, C], targets [N] int64; fp32 or
// bf16. Softmax statistics in fp32, sums over tokens in double. Threads: any; results do not depend
// on their number where products of blocks are used. On a GPU both wait for the result.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// Sum of the losses of all tokens.
double linear_cross_entropy(const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& targets);

struct CrossEntropyGradient {
  double loss = 0;     // sum over tokens
  at::Tensor dlogits;  // [N, V], type of x: gradient_scale * d(sum of losses)/dlogits
};

CrossEntropyGradient linear_cross_entropy_with_gradient(const at::Tensor& x,
                                                        const at::Tensor& weight,
                                                        const at::Tensor& targets,
                                                        double gradient_scale);

}  // namespace penstock::kernels
