#include "model/unit_op.h"

#include <stdexcept>

namespace penstock::model {

UnitTensors UnitOp::recompute(const at::Tensor& x, const MicroBatch& batch,
                              const UnitTensors& weights) const {
  UnitTensors saved;
  (void)forward(x, batch, weights, &saved);
  return saved;
}

std::unique_ptr<UnitOp> make_unit_op(UnitKind kind, const config::ModelConfig& model,
                                     at::Device device) {
  switch (kind) {
    case UnitKind::embedding:
      return embedding_op();
    case UnitKind::attention:
      return attention_op(model, device);
    case UnitKind::mlp:
      return mlp_op(model);
    case UnitKind::head:
      return head_op(model);
  }
  throw std::logic_error("unknown kind of unit");
}

}  // namespace penstock::model
