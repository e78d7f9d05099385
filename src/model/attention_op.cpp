#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

// y = x + Attention(RoPE(RMSNorm(x) Wqkv^T)) Wo^T
class AttentionOp final : public UnitOp {
 public:
  AttentionOp(const config::ModelConfig& model, at::Device device)
      : shape_{model.heads, model.kv_heads, model.width / model.heads},
        eps_(model.norm_eps),
        tables_(kernels::rotary_tables(model.seq, shape_.width, model.rope_base, device)) {}

  at::Tensor forward(const at::Tensor& x, const MicroBatch& batch, const UnitTensors& weights,
                     UnitTensors* saved) const override {
    Saved s = attend(x, batch, weights);
    at::Tensor y = kernels::linear_add(x, s.attended.y, weights[o_proj]);
    if (saved != nullptr) *saved = s.tensors();
    return y;
  }

  UnitTensors recompute(const at::Tensor& x, const MicroBatch& batch,
                        const UnitTensors& weights) const override {
    return attend(x, batch, weights).tensors();
  }

  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const UnitTensors& weights,
                      const UnitTensors& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto s = Saved::from(saved);
    postpone([dw = gradients[o_proj], dy, x = s.attended.y] {
      kernels::linear_add_weight_gradient(dw, dy, x);
    });
    const at::Tensor dattended = kernels::linear_input_gradient(dy, weights[o_proj]);
    at::Tensor dqkv =
        kernels::attention_backward(dattended, s.qkv, s.attended, shape_, batch.sequences);
    rotate(dqkv, batch, kernels::Rotation::inverse);
    postpone([dw = gradients[qkv_proj], dqkv, x = s.normed.y] {
      kernels::linear_add_weight_gradient(dw, dqkv, x);
    });
    const at::Tensor dnormed = kernels::linear_input_gradient(dqkv, weights[qkv_proj]);
    return kernels::rms_norm_backward(dnormed, s.x, weights[gain], s.normed.inverse_rms, dy,
                                      gradients[gain]);
  }

 private:
  enum : std::size_t { gain, qkv_proj, o_proj };
  struct Saved {
    at::Tensor x;
    kernels::Normalized normed;
    at::Tensor qkv;
    kernels::Attended attended;

    static Saved from(const UnitTensors& t) { return {t[0], {t[1], t[2]}, t[3], {t[4], t[5]}}; }
    UnitTensors tensors() const {
      return {x, normed.y, normed.inverse_rms, qkv, attended.y, attended.log_sum};
    }
  };

  Saved attend(const at::Tensor& x, const MicroBatch& batch, const UnitTensors& weights) const {
    Saved s;
    s.x = x;
    s.normed = kernels::rms_norm(x, weights[gain], eps_);
    s.qkv = kernels::linear(s.normed.y, weights[qkv_proj]);
    rotate(s.qkv, batch, kernels::Rotation::forward);
    s.attended = kernels::attention(s.qkv, shape_, batch.sequences);
    return s;
  }

  void rotate(at::Tensor qkv, const MicroBatch& batch, kernels::Rotation direction) const {
    const std::int64_t positions = qkv.size(0) / batch.sequences;
    kernels::rotate(qkv, shape_.heads + shape_.kv_heads, shape_.width, positions, tables_,
                    direction);
  }

  const kernels::HeadShape shape_;
  const double eps_;
  const kernels::RotaryTables tables_;
};

}  // namespace

std::unique_ptr<UnitOp> attention_op(const config::ModelConfig& model, at::Device device) {
  return std::make_unique<AttentionOp>(model, device);
}

}  // namespace penstock::model
