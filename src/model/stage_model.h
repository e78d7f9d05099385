#pragma once
// The part of the model that one stage computes.

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <vector>

#include "config/config.h"
#include "model/partition.h"
#include "model/recompute.h"
#include "model/unit_op.h"

namespace penstock::model {

/// The units of one stage in order, as a pure function of (input, micro-batch, weights). What a
/// backward needs is kept since the forward or computed again (model/recompute.h); the results are
/// the same bits. Immutable: any number of threads.
class StageModel {
 public:
  /// What one forward leaves for its backward, by segment; may hold undefined tensors.
  using Tape = std::vector<UnitTensors>;

  /// `device` is that of all tensors it will be called with.
  StageModel(const config::ModelConfig& model, const std::vector<Unit>& chain, UnitRange range,
             config::Recompute recompute = config::Recompute::none, at::Device device = at::kCPU);

  /// x: the previous stage's output [N, C], undefined on the first stage. Fills `tape` unless null;
  /// the tape may share x's memory, which must not be written as long as the tape exists.
  at::Tensor forward(const at::Tensor& x, const MicroBatch& batch, const StageTensors& weights,
                     Tape* tape) const;

  /// What forward() returned on the last stage: the mean loss, once the backward is done.
  static at::Tensor loss(const Tape& tape) { return tape.back().back(); }

  /// Adds this micro-batch's weight gradients to `gradients`; returns dL/dx. Where units are
  /// computed again, batch and weights must be those of the forward.
  /// The tape is used up: activations are freed as soon as their unit is done.
  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const StageTensors& weights,
                      Tape& tape, const StageTensors& gradients) const;

  /// What is left of a backward once dL/dx is known: the matrices' gradients.
  using WeightBackward = std::vector<std::function<void()>>;

  /// As backward(), but the matrices' gradients are only added by calling all of `later`, which
  /// keeps what they need of the tape, and of what was computed again. The sums are the same bits.
  at::Tensor backward_input(const at::Tensor& dy, const MicroBatch& batch,
                            const StageTensors& weights, Tape& tape, const StageTensors& gradients,
                            WeightBackward& later) const;

 private:
  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const StageTensors& weights,
                      Tape& tape, const StageTensors& gradients, const Postpone& postpone) const;
  /// What each unit of the segment saves.
  std::vector<UnitTensors> saved_by(const Segment& segment, UnitTensors kept,
                                    const MicroBatch& batch, const StageTensors& weights) const;

  std::vector<std::unique_ptr<UnitOp>> ops_;
  std::vector<const char*> parts_;  // names of their kinds
  std::vector<Segment> segments_;
};

}  // namespace penstock::model
