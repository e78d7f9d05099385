#pragma once
// A linear layer and the cross-entropy of its softmax in one: loss(n) = log sum_v e^(x(n) w(v)) -
// x(n) w(target(n)), in nats. On a CPU with block products logits exist for one panel of rows at a
// time, in fp32 and never rounded; elsewhere for all rows given, in the type of x.
// Shapes: N tokens, C width, V vocabulary; x [N, C], weight [V, C], targets [N] int64; fp32 or
// bf16. Softmax statistics in fp32, sums over tokens in double. Threads: any; results do not depend
// on their number where products of blocks are used. On a GPU losses wait for the result.

#include <ATen/ATen.h>

#include <memory>

namespace penstock::kernels {

struct CrossEntropyGradient {
  double loss = 0;     // sum over tokens
  at::Tensor dlogits;  // [N, V], type of x: gradient_scale * d(sum of losses)/dlogits
};

/// The matrix is laid out once for all calls: whoever cuts a micro-batch into chunks of rows makes
/// one object for them.
class LinearCrossEntropy {
 public:
  /// `weight` must not change while this object lives.
  explicit LinearCrossEntropy(const at::Tensor& weight);
  ~LinearCrossEntropy();
  LinearCrossEntropy(const LinearCrossEntropy&) = delete;
  LinearCrossEntropy& operator=(const LinearCrossEntropy&) = delete;

  /// Whether logits exist for one panel of rows at a time only.
  static bool in_panels(const at::Tensor& weight);

  /// Sum of the losses of all tokens.
  double loss(const at::Tensor& x, const at::Tensor& targets) const;
  CrossEntropyGradient with_gradient(const at::Tensor& x, const at::Tensor& targets,
                                     double gradient_scale) const;
  /// dL/dx = dlogits W
  at::Tensor input_gradient(const at::Tensor& dlogits) const;

 private:
  struct Operands;
  const at::Tensor weight_;
  std::unique_ptr<Operands> operands_;  // null: not in panels
};

}  // namespace penstock::kernels
