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
                     UnitTensors* saved) const override {
    Saved s = expand(x, weights);
    at::Tensor y = kernels::linear_add(x, s.hidden, weights[down_proj]);
    if (saved != nullptr) *saved = s.tensors();
    return y;
  }

  UnitTensors recompute(const at::Tensor& x, const MicroBatch&,
                        const UnitTensors& weights) const override {
    return expand(x, weights).tensors();
  }

  at::Tensor backward(const at::Tensor& dy, const MicroBatch&, const UnitTensors& weights,
                      const UnitTensors& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto s = Saved::from(saved);
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

    static Saved from(const UnitTensors& t) { return {t[0], {t[1], t[2]}, t[3], t[4]}; }
    UnitTensors tensors() const { return {x, normed.y, normed.inverse_rms, gate_up, hidden}; }
  };

  Saved expand(const at::Tensor& x, const UnitTensors& weights) const {
    Saved s;
    s.x = x;
    s.normed = kernels::rms_norm(x, weights[gain], eps_);
    s.gate_up = kernels::linear(s.normed.y, weights[gate_up_proj]);
    s.hidden = kernels::swiglu(s.gate_up);
    return s;
  }

  const double eps_;
};

}  // namespace

std::unique_ptr<UnitOp> mlp_op(const config::ModelConfig& model) {
  return std::make_unique<MlpOp>(model);
}

}  // namespace penstock::model
