#include "kernels/composed.h"

#include <algorithm>

namespace penstock::kernels::composed {
namespace {

at::Tensor floats(const at::Tensor& x) { return x.to(at::kFloat); }

/// Calls work(rows of logits, their targets), a bounded number of elements at a time.
template <class Work>
void for_groups_of_rows(const at::Tensor& logits, const at::Tensor& targets, Work work) {
  constexpr std::int64_t most_elements = std::int64_t{1} << 25;
  const std::int64_t group =
      std::max<std::int64_t>(most_elements / std::max<std::int64_t>(logits.size(1), 1), 1);
  for (std::int64_t first = 0; first < logits.size(0); first += group) {
    const std::int64_t count = std::min(group, logits.size(0) - first);
    work(logits.narrow(0, first, count), targets.narrow(0, first, count).unsqueeze(1));
  }
}

/// e^(logits - peak) and what the losses are made of, [rows, 1] each.
struct Softmax {
  at::Tensor exponentials, sum, loss;

  Softmax(const at::Tensor& logits, const at::Tensor& target) {
    const at::Tensor values = floats(logits);
    const at::Tensor peak = values.amax(1, true);
    const at::Tensor target_logit = values.gather(1, target).to(at::kDouble);
    exponentials = (values - peak).exp_();
    sum = exponentials.sum(1, true, at::kDouble);
    loss = sum.log() + (peak.to(at::kDouble) - target_logit);
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) { return at::mm(x, weight.t()); }

at::Tensor linear_add(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight) {
  return at::addmm(residual, x, weight.t());
}

at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight) {
  return at::mm(dy, weight);
}

void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (dy.scalar_type() == at::kFloat) {
    gradient.addmm_(dy.t(), x);
  } else {
    gradient.add_(at::mm(dy.t(), x));
  }
}

Normalized rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const at::Tensor values = floats(x);
  const at::Tensor inverse_rms = (values.square().mean(1) + eps).rsqrt();
  const at::Tensor y = (values * inverse_rms.unsqueeze(1)).mul_(floats(gain));
  return {y.to(x.scalar_type()), inverse_rms};
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& gain,
                             const at::Tensor& inverse_rms, const at::Tensor& residual,
                             at::Tensor gain_gradient) {
  const at::Tensor d = floats(dy);
  const at::Tensor values = floats(x);
  const at::Tensor r = inverse_rms.unsqueeze(1);
  gain_gradient.add_((d * values).mul_(r).sum(0));
  const at::Tensor scaled = d * floats(gain);
  const at::Tensor dot = (scaled * values).sum(1, true);
  const at::Tensor x_scale = r.pow(3) * dot / static_cast<double>(x.size(1));
  at::Tensor dx = (scaled * r).sub_(values * x_scale);
  if (residual.defined()) dx.add_(floats(residual));
  return dx.to(x.scalar_type());
}

void rotate(at::Tensor x, std::int64_t heads, std::int64_t head_width, std::int64_t positions,
            const RotaryTables& tables, Rotation direction) {
  const std::int64_t half = head_width / 2;
  const auto of_rows = [&](const at::Tensor& table) {
    return table.narrow(0, 0, positions).view({1, positions, 1, half});
  };
  const at::Tensor cosine = of_rows(tables.cosine);
  const at::Tensor sine =
      direction == Rotation::forward ? of_rows(tables.sine) : of_rows(tables.sine).neg();
  const at::Tensor pairs = x.narrow(1, 0, heads * head_width).view({-1, positions, heads, 2, half});
  const at::Tensor a = floats(pairs.select(3, 0));
  const at::Tensor b = floats(pairs.select(3, 1));
  const at::Tensor rotated = (a * cosine).sub_(b * sine);
  pairs.select(3, 1).copy_((b * cosine).add_(a * sine));
  pairs.select(3, 0).copy_(rotated);
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = floats(gate_up.narrow(1, 0, width));
  const at::Tensor up = floats(gate_up.narrow(1, width, width));
  return (gate * at::sigmoid(gate)).mul_(up).to(gate_up.scalar_type());
}

at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up) {
  const std::int64_t width = dy.size(1);
  const at::Tensor d = floats(dy);
  const at::Tensor gate = floats(gate_up.narrow(1, 0, width));
  const at::Tensor up = floats(gate_up.narrow(1, width, width));
  const at::Tensor sigmoid = at::sigmoid(gate);
  const at::Tensor silu = gate * sigmoid;
  at::Tensor gradient = at::empty_like(gate_up);
  gradient.narrow(1, width, width).copy_(d * silu);
  // sigmoid + silu (1 - sigmoid)
  const at::Tensor slope = (1 - sigmoid).mul_(silu).add_(sigmoid);
  gradient.narrow(1, 0, width).copy_((d * up).mul_(slope));
  return gradient;
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  at::Tensor total = at::zeros({}, logits.options().dtype(at::kDouble));
  for_groups_of_rows(logits, targets, [&](const at::Tensor& rows, const at::Tensor& target) {
    total.add_(Softmax(rows, target).loss.sum());
  });
  return total;
}

at::Tensor cross_entropy_with_gradient(at::Tensor logits, const at::Tensor& targets,
                                       double gradient_scale) {
  at::Tensor total = at::zeros({}, logits.options().dtype(at::kDouble));
  for_groups_of_rows(logits, targets, [&](const at::Tensor& rows, const at::Tensor& target) {
    Softmax softmax(rows, target);
    total.add_(softmax.loss.sum());
    at::Tensor gradient = softmax.exponentials.mul_(floats(gradient_scale / softmax.sum));
    gradient.scatter_(1, target, gradient.gather(1, target) - gradient_scale);
    rows.copy_(gradient);
  });
  return total;
}

void add_embedding_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& tokens) {
  // Unlike index_add_, this is sorted by row first on a GPU: no order of additions is left to
  // chance.
  constexpr bool accumulate = true;
  c10::List<std::optional<at::Tensor>> rows;
  rows.push_back(tokens);
  gradient.index_put_(rows, floats(dy), accumulate);
}

}  // namespace penstock::kernels::composed
