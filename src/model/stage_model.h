#pragma once
// The part of the model that one stage computes.

#include <ATen/ATen.h>

#include <any>
#include <functional>
#include <memory>
#include <vector>

#include "config/config.h"
#include "model/partition.h"
#include "model/unit_op.h"

namespace penstock::model {

/// The units of one stage in order, as a pure function of (input, micro-batch, weights).
/// Immutable: any number of threads.
class StageModel {
 public:
  /// What one forward leaves for its backward.
  using Tape = std::vector<std::any>;

  StageModel(const config::ModelConfig& model, const std::vector<Unit>& chain, UnitRange range);

  /// x: the previous stage's output [N, C], undefined on the first stage. Fills `tape` unless null.
  at::Tensor forward(const at::Tensor& x, const MicroBatch& batch, const StageTensors& weights,
                     Tape* tape) const;

  /// Adds this micro-batch's weight gradients to `gradients`; returns dL/dx.
  /// The tape is used up: activations are freed as soon as their unit is done.
  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const StageTensors& weights,
                      Tape& tape, const StageTensors& gradients) const;

  /// What is left of a backward once dL/dx is known: the matrices' gradients.
  using WeightBackward = std::vector<std::function<void()>>;

  /// As backward(), but the matrices' gradients are only added by calling all of `later`, which
  /// keeps what they need of the tape. The sums are the same bits.
  at::Tensor backward_input(const at::Tensor& dy, const MicroBatch& batch,
                            const StageTensors& weights, Tape& tape, const StageTensors& gradients,
                            WeightBackward& later) const;

 private:
  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const StageTensors& weights,
                      Tape& tape, const StageTensors& gradients, const Postpone& postpone) const;

  std::vector<std::unique_ptr<UnitOp>> ops_;
};

}  // namespace penstock::model
