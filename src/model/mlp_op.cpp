#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "kernels/swiglu.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

// y = x + SwiGLU(RMSNorm(x) Wgate_up^T) Wdown^T
class MlpOp final : public UnitOp {
 public:
  explicit MlpOp(const config::ModelConfig& model) : eps_(model.norm_eps) {}

  at::Tensor forward(const at::Tensor& x, const MicroBatch&, const UnitTensors& weights,
                     std::any* saved) const override {
    auto normed = kernels::rms_norm(x, weights[gain], eps_);
    at::Tensor gate_up = kernels::linear(normed.y, weights[gate_up_proj]);
    at::Tensor hidden = kernels::swiglu(gate_up);
    at::Tensor y = kernels::linear(hidden, weights[down_proj]).add_(x);
    if (saved != nullptr) *saved = Saved{x, std::move(normed), gate_up, hidden};
    return y;
  }

  at::Tensor backward(const at::Tensor& dy, const MicroBatch&, const UnitTensors& weights,
                      const std::any& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto& s = std::any_cast<const Saved&>(saved);
    postpone([dw = gradients[down_proj], dy, x = s.hidden] {
      kernels::linear_add_weight_gradient(dw, dy, x);
    });
    const at::Tensor dhidden = kernels::linear_input_gradient(dy, weights[down_proj]);
    const at::Tensor dgate_up = kernels::swiglu_backward(dhidden, s.gate_up);
    postpone([dw = gradients[gate_up_proj], dgate_up, x = s.normed.y] {
      kernels::linear_add_weight_gradient(dw, dgate_up, x);
    });
    const at::Tensor dnormed = kernels::linear_input_gradient(dgate_up, weights[gate_up_proj]);
    return kernels::rms_norm_backward(dnormed, s.x, weights[gain], s.normed.inverse_rms, dy,
                                      gradients[gain]);
  }

 private:
  enum : std::size_t { gain, gate_up_proj, down_proj };
  struct Saved {
    at::Tensor x;
    kernels::Normalized normed;
    at::Tensor gate_up;
    at::Tensor hidden;
  };

  const double eps_;
};

}  // namespace

std::unique_ptr<UnitOp> mlp_op(const config::ModelConfig& model) {
  return std::make_unique<MlpOp>(model);
}

}  // namespace penstock::model
