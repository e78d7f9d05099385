#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/linear.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/rms_norm.h"
#include "model/head_chunks.h"
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
    if (!batch.targets.defined()) return kernels::linear(normed.y, weights[head]);
    if (saved == nullptr) return scalar(mean_loss(normed.y, batch, weights[head]));
    // Loss and gradient both need the logits, which are too large to be kept from here to there.
    *saved =
        Saved{x, std::move(normed), scalar(std::numeric_limits<double>::quiet_NaN())}.tensors();
    return saved->back();
  }

  at::Tensor backward(const at::Tensor&, const MicroBatch& batch, const UnitTensors& weights,
                      const UnitTensors& saved, const UnitTensors& gradients,
                      const Postpone& postpone) const override {
    const auto s = Saved::from(saved);
    at::Tensor dnormed = at::empty_like(s.normed.y);
    double sum = 0;
    const kernels::LinearCrossEntropy loss_of(weights[head]);
    for_chunks(s.normed.y, weights[head], [&](std::int64_t first, std::int64_t rows) {
      const at::Tensor x = s.normed.y.narrow(0, first, rows);
      auto part =
          loss_of.with_gradient(x, batch.targets.narrow(0, first, rows), batch.gradient_scale);
      sum += part.loss;
      dnormed.narrow(0, first, rows).copy_(loss_of.input_gradient(part.dlogits));
      postpone([dw = gradients[head], dlogits = std::move(part.dlogits), x] {
        kernels::linear_add_weight_gradient(dw, dlogits, x);
      });
    });
    at::Tensor(s.loss).fill_(sum / static_cast<double>(batch.targets.numel()));
    return kernels::rms_norm_backward(dnormed, s.x, weights[gain], s.normed.inverse_rms, {},
                                      gradients[gain]);
  }

 private:
  enum : std::size_t { gain, head };
  struct Saved {
    at::Tensor x;
    kernels::Normalized normed;
    at::Tensor loss;  // filled by the backward

    static Saved from(const UnitTensors& t) { return {t[0], {t[1], t[2]}, t[3]}; }
    UnitTensors tensors() const { return {x, normed.y, normed.inverse_rms, loss}; }
  };

  static at::Tensor scalar(double value) { return at::scalar_tensor(value, at::kDouble); }

  template <class Work>
  static void for_chunks(const at::Tensor& x, const at::Tensor& weight, Work work) {
    const std::int64_t all = x.size(0);
    const auto logits =
        kernels::LinearCrossEntropy::in_panels(weight) ? Logits::in_panels : Logits::of_a_chunk;
    const std::int64_t most = head_chunk_rows(weight.size(0), weight.element_size(), logits);
    for (std::int64_t first = 0; first < all; first += most) {
      work(first, std::min(most, all - first));
    }
  }

  static double mean_loss(const at::Tensor& x, const MicroBatch& batch, const at::Tensor& weight) {
    const kernels::LinearCrossEntropy loss_of(weight);
    double sum = 0;
    for_chunks(x, weight, [&](std::int64_t first, std::int64_t rows) {
      sum += loss_of.loss(x.narrow(0, first, rows), batch.targets.narrow(0, first, rows));
    });
    return sum / static_cast<double>(batch.targets.numel());
  }

  const double eps_;
};

}  // namespace

std::unique_ptr<UnitOp> head_op(const config::ModelConfig& model) {
  return std::make_unique<HeadOp>(model);
}

}  // namespace penstock::model
