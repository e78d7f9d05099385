#include "model/stage_model.h"

#include <utility>

#include "base/operation_profile.h"

namespace penstock::model {

StageModel::StageModel(const config::ModelConfig& model, const std::vector<Unit>& chain,
                       UnitRange range, config::Recompute recompute, at::Device device) {
  std::vector<UnitKind> kinds;
  for (auto u = range.first; u < range.last; ++u) {
    kinds.push_back(chain[static_cast<std::size_t>(u)].kind);
    parts_.push_back(name(kinds.back()));
    ops_.push_back(make_unit_op(kinds.back(), model, device));
  }
  segments_ = segments(kinds, recompute);
}

at::Tensor StageModel::forward(const at::Tensor& x, const MicroBatch& batch,
                               const StageTensors& weights, Tape* tape) const {
  if (tape != nullptr) tape->assign(segments_.size(), {});
  at::Tensor y = x;
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    const Segment& segment = segments_[s];
    UnitTensors* saved = nullptr;
    if (tape != nullptr && segment.recomputed) {
      (*tape)[s] = {y};
    } else if (tape != nullptr) {
      saved = &(*tape)[s];
    }
    for (std::size_t u = segment.first; u < segment.last; ++u) {
      const ProgramPart part(parts_[u]);
      const OperationTimer rest("rest", {});
      y = ops_[u]->forward(y, batch, weights[u], saved);
    }
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
  for (std::size_t s = segments_.size(); s-- > 0;) {
    const Segment& segment = segments_[s];
    auto saved = saved_by(segment, std::exchange(tape[s], {}), batch, weights);
    for (std::size_t u = segment.last; u-- > segment.first;) {
      auto& of_unit = saved[u - segment.first];
      const ProgramPart part(parts_[u]);
      const OperationTimer rest("rest", {});
      const auto in_part = [&, name = parts_[u]](auto task) {
        postpone([name, task = std::move(task)] {
          const ProgramPart of_task(name);
          task();
        });
      };
      dx = ops_[u]->backward(dx, batch, weights[u], of_unit, gradients[u], in_part);
      of_unit.clear();
    }
  }
  return dx;
}

std::vector<UnitTensors> StageModel::saved_by(const Segment& segment, UnitTensors kept,
                                              const MicroBatch& batch,
                                              const StageTensors& weights) const {
  std::vector<UnitTensors> saved(segment.size());
  if (!segment.recomputed) {
    saved.front() = std::move(kept);
    return saved;
  }
  at::Tensor x = std::move(kept.front());
  for (std::size_t u = segment.first; u + 1 < segment.last; ++u) {
    const ProgramPart part(parts_[u]);
    x = ops_[u]->forward(x, batch, weights[u], &saved[u - segment.first]);
  }
  const ProgramPart part(parts_[segment.last - 1]);
  saved.back() = ops_[segment.last - 1]->recompute(x, batch, weights[segment.last - 1]);
  return saved;
}

}  // namespace penstock::model
