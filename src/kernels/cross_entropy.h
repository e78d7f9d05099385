#pragma once
// Cross-entropy of a softmax: loss(n) = log sum_v e^logits(n, v) - logits(n, target(n)), in nats.
// Softmax statistics in fp32, sums over tokens in double. Shapes: N tokens, V vocabulary.
// Threads: any; results do not depend on their number. On a GPU both wait for the result.

#include <ATen/ATen.h>

namespace penstock::kernels {

/// Sum of the losses of all tokens. logits [N, V], targets [N] int64.
double cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

/// The same, and replaces logits by gradient_scale * d(sum of losses)/dlogits.
double cross_entropy_with_gradient(at::Tensor logits, const at::Tensor& targets,
                                   double gradient_scale);

}  // namespace penstock::kernels
