#include "model/unit_op.h"

#include <stdexcept>

namespace penstock::model {

std::unique_ptr<UnitOp> make_unit_op(UnitKind kind, const config::ModelConfig& model) {
  switch (kind) {
    case UnitKind::embedding:
      return embedding_op();
    case UnitKind::attention:
      return attention_op(model);
    case UnitKind::mlp:
      return mlp_op(model);
    case UnitKind::head:
      return head_op(model);
  }
  throw std::logic_error("unknown kind of unit");
}

}  // namespace penstock::model
