#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

// logits = RMSNorm(x) W^T; loss = mean cross-entropy
class HeadOp final : public UnitOp {
 public:
  explicit HeadOp(const config::ModelConfig& model) : eps_(model.norm_eps) {}

  at::Tensor forward(const at::Tensor& x, const MicroBatch& batch, const UnitTensors& weights,
                     UnitTensors* saved) const override {
    auto normed = kernels::rms_norm(x, weights[gain], eps_);
    at::Tensor logits = kernels::linear(normed.y, weights[head]);
    if (!batch.targets.defined()) return logits;
    if (saved == nullptr) return mean(kernels::cross_entropy(logits, batch.targets), batch);
    // The logits' memory becomes their gradient: nothing else needs them.
    const double sum =
        kernels::cross_entropy_with_gradient(logits, batch.targets, batch.gradient_scale);
    *saved = Saved{x, std::move(normed), logits}.tensors();
    return mean(sum, batch);
  }

  at::Tensor backward(const at::Tensor&, const MicroBatch&, const UnitTensors& weights,
                      const UnitTensors& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto s = Saved::from(saved);
    postpone([dw = gradients[head], dlogits = s.dlogits, x = s.normed.y] {
      kernels::linear_add_weight_gradient(dw, dlogits, x);
    });
    const at::Tensor dnormed = kernels::linear_input_gradient(s.dlogits, weights[head]);
    return kernels::rms_norm_backward(dnormed, s.x, weights[gain], s.normed.inverse_rms,
                                      at::zeros_like(s.x), gradients[gain]);
  }

 private:
  enum : std::size_t { gain, head };
  struct Saved {
    at::Tensor x;
    kernels::Normalized normed;
    at::Tensor dlogits;

    static Saved from(const UnitTensors& t) { return {t[0], {t[1], t[2]}, t[3]}; }
    UnitTensors tensors() const { return {x, normed.y, normed.inverse_rms, dlogits}; }
  };

  static at::Tensor mean(double sum, const MicroBatch& batch) {
    return at::scalar_tensor(sum / static_cast<double>(batch.targets.numel()), at::kDouble);
  }

  const double eps_;
};

}  // namespace

std::unique_ptr<UnitOp> head_op(const config::ModelConfig& model) {
  return std::make_unique<HeadOp>(model);
}

}  // namespace penstock::model
