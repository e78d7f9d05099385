#include "base/operation_profile.h"
#include "kernels/embedding.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

class EmbeddingOp final : public UnitOp {
 public:
  at::Tensor forward(const at::Tensor&, const MicroBatch& batch, const UnitTensors& weights,
                     UnitTensors*) const override {
    const std::int64_t row = weights[0].size(1) * weights[0].element_size();
    const OperationTimer timer("look-up",
                               {.bytes = 2.0 * static_cast<double>(batch.inputs.numel() * row)});
    return weights[0].index_select(0, batch.inputs);
  }

  UnitTensors recompute(const at::Tensor&, const MicroBatch&, const UnitTensors&) const override {
    return {};
  }

  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const UnitTensors&,
                      const UnitTensors&, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    postpone([dw = gradients[0], dy, tokens = batch.inputs] {
      kernels::add_embedding_gradient(dw, dy, tokens);
    });
    return {};
  }
};

}  // namespace

std::unique_ptr<UnitOp> embedding_op() { return std::make_unique<EmbeddingOp>(); }

}  // namespace penstock::model
