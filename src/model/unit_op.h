#pragma once
// The computation of one unit: functions of (input, weights), nothing remembered inside.

#include <ATen/ATen.h>

#include <functional>
#include <memory>

#include "config/config.h"
#include "kernels/rope.h"
#include "model/units.h"
#include "model/views.h"

namespace penstock::model {

/// The tokens of one micro-batch: B sequences of T tokens, flattened to N = B T.
struct MicroBatch {
  at::Tensor inputs;   // [N] int64
  at::Tensor targets;  // [N] int64; undefined: the head returns logits instead of a loss
  std::int64_t sequences = 1;
  double gradient_scale = 1;  // dL/d(sum of token losses), 1 / (tokens of the batch)
};

/// Takes the part of a backward that only weight gradients need (dW): runs it at once, or keeps it
/// for later. What is kept owns all tensors it reads but the gradients it adds to.
using Postpone = std::function<void(std::function<void()> weight_gradient)>;

/// A unit maps the residual stream x [N, C] to the next one. The embedding ignores x; the head
/// returns the mean loss per token, a scalar in fp64 on the CPU, or logits [N, V]. Where the head
/// saves for a backward, the loss is NaN until that backward has filled it in.
/// Weights and gradients are the unit's tensors in the order of its TensorSpecs; weights are in
/// the compute type, gradients fp32 and added to. Neither x nor dy is written. Immutable: any
/// number of threads.
class UnitOp {
 public:
  virtual ~UnitOp() = default;

  /// Leaves in `saved` what backward() needs; with saved == nullptr nothing is kept.
  virtual at::Tensor forward(const at::Tensor& x, const MicroBatch& batch,
                             const UnitTensors& weights, UnitTensors* saved) const = 0;

  /// What forward() leaves in `saved`, without the output where that saves work.
  virtual UnitTensors recompute(const at::Tensor& x, const MicroBatch& batch,
                                const UnitTensors& weights) const;

  /// Returns dL/dx for dy = dL/dy (undefined for the embedding; the head ignores dy). The matrices'
  /// gradients go through `postpone`, those of the gains come with dL/dx.
  virtual at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch,
                              const UnitTensors& weights, const UnitTensors& saved,
                              const UnitTensors& gradients, const Postpone& postpone) const = 0;
};

std::unique_ptr<UnitOp> embedding_op();
std::unique_ptr<UnitOp> attention_op(const config::ModelConfig& model, at::Device device);
std::unique_ptr<UnitOp> mlp_op(const config::ModelConfig& model);
std::unique_ptr<UnitOp> head_op(const config::ModelConfig& model);

/// `device` is that of the tensors it will be called with.
std::unique_ptr<UnitOp> make_unit_op(UnitKind kind, const config::ModelConfig& model,
                                     at::Device device);

}  // namespace penstock::model
