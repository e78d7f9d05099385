#include "model/stage_model.h"

namespace penstock::model {

StageModel::StageModel(const config::ModelConfig& model, const std::vector<Unit>& chain,
                       UnitRange range) {
  for (auto u = range.first; u < range.last; ++u) {
    ops_.push_back(make_unit_op(chain[static_cast<std::size_t>(u)].kind, model));
  }
}

at::Tensor StageModel::forward(const at::Tensor& x, const MicroBatch& batch,
                               const StageTensors& weights, Tape* tape) const {
  if (tape != nullptr) tape->resize(ops_.size());
  at::Tensor y = x;
  for (std::size_t u = 0; u < ops_.size(); ++u) {
    y = ops_[u]->forward(y, batch, weights[u], tape == nullptr ? nullptr : &(*tape)[u]);
  }
  return y;
}

at::Tensor StageModel::backward(const at::Tensor& dy, const MicroBatch& batch,
                                const StageTensors& weights, Tape& tape,
                                const StageTensors& gradients) const {
  return backward(dy, batch, weights, tape, gradients, [](const auto& task) { task(); });
}

at::Tensor StageModel::backward_input(const at::Tensor& dy, const MicroBatch& batch,
                                      const StageTensors& weights, Tape& tape,
                                      const StageTensors& gradients, WeightBackward& later) const {
  return backward(dy, batch, weights, tape, gradients,
                  [&](auto task) { later.push_back(std::move(task)); });
}

at::Tensor StageModel::backward(const at::Tensor& dy, const MicroBatch& batch,
                                const StageTensors& weights, Tape& tape,
                                const StageTensors& gradients, const Postpone& postpone) const {
  at::Tensor dx = dy;
  for (std::size_t u = ops_.size(); u-- > 0;) {
    dx = ops_[u]->backward(dx, batch, weights[u], tape[u], gradients[u], postpone);
    tape[u].reset();
  }
  return dx;
}

}  // namespace penstock::model
