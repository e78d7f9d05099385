#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

// y = x + Attention(RoPE(RMSNorm(x) Wqkv^T)) Wo^T
class AttentionOp final : public UnitOp {
 public:
  explicit AttentionOp(const config::ModelConfig& model)
      : shape_{model.heads, model.kv_heads, model.width / model.heads},
        eps_(model.norm_eps),
        tables_(kernels::rotary_tables(model.seq, shape_.width, model.rope_base)) {}

  at::Tensor forward(const at::Tensor& x, const MicroBatch& batch, const UnitTensors& weights,
                     std::any* saved) const override {
    auto normed = kernels::rms_norm(x, weights[gain], eps_);
    at::Tensor qkv = kernels::linear(normed.y, weights[qkv_proj]);
    rotate(qkv, batch, kernels::Rotation::forward);
    auto attended = kernels::attention(qkv, shape_, batch.sequences);
    at::Tensor y = kernels::linear(attended.y, weights[o_proj]).add_(x);
    if (saved != nullptr) *saved = Saved{x, std::move(normed), qkv, std::move(attended)};
    return y;
  }

  at::Tensor backward(const at::Tensor& dy, const MicroBatch& batch, const UnitTensors& weights,
                      const std::any& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto& s = std::any_cast<const Saved&>(saved);
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
  };

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

std::unique_ptr<UnitOp> attention_op(const config::ModelConfig& model) {
  return std::make_unique<AttentionOp>(model);
}

}  // namespace penstock::model
