#include "kernels/linear_cross_entropy.h"

#include <numeric>
#include <variant>
#include <vector>

#include "base/operation_profile.h"
#include "kernels/blocked_product.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/rows.h"

namespace penstock::kernels {
namespace {

/// Calls place(first, rows) for every panel, which says where its logits [rows, V] are to be
/// formed, and finish(first, rows, logits) when they are.
template <class T, class Place, class Finish>
void for_logit_panels(const at::Tensor& x, const RightOperand<T>& b, Place place, Finish finish) {
  const std::int64_t width = x.size(1);
  const std::int64_t vocabulary = b.columns();
  const T* from = x.const_data_ptr<T>();
  for_panels<T>(x.size(0), [&](std::int64_t first, std::int64_t rows) {
    const at::Tensor panel = place(first, rows);
    float* logits = panel.mutable_data_ptr<float>();
    const auto tile = [&](std::int64_t column, std::int64_t) {
      return Block<float>{logits + column, vocabulary};
    };
    multiply_rows<T>(rows, {from + first * width, width}, b, Into::overwrite, tile,
                     [](auto, auto) {});
    finish(first, rows, logits);
  });
}

/// Makes memory for one panel.
auto fresh_panel(const at::Tensor& x, std::int64_t vocabulary) {
  return [options = x.options().dtype(at::kFloat), vocabulary](std::int64_t, std::int64_t rows) {
    return at::empty({rows, vocabulary}, options);
  };
}

template <class T>
std::vector<double> losses(const at::Tensor& x, const RightOperand<T>& weight,
                           const std::int64_t* target) {
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  const auto finish = [&](std::int64_t first, std::int64_t rows, const float* logits) {
    rows::loops<float>().cross_entropy(logits, target + first, all.data() + first, rows,
                                       weight.columns());
  };
  for_logit_panels<T>(x, weight, fresh_panel(x, weight.columns()), finish);
  return all;
}

/// Softmax gradients in the place of logits.
void differentiate(float* logits, const std::int64_t* target, double scale, double* losses,
                   std::int64_t rows, std::int64_t vocabulary) {
  std::vector<float> scratch(static_cast<std::size_t>(vocabulary));
  rows::loops<float>().cross_entropy_gradient(logits, target, scale, losses, scratch.data(), rows,
                                              vocabulary);
}

std::vector<double> gradients(const at::Tensor& x, const RightOperand<float>& weight,
                              const std::int64_t* target, double scale, const at::Tensor& dlogits) {
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  const auto place = [&](std::int64_t first, std::int64_t rows) {
    return dlogits.narrow(0, first, rows);
  };
  for_logit_panels<float>(
      x, weight, place, [&](std::int64_t first, std::int64_t rows, float* logits) {
        differentiate(logits, target + first, scale, all.data() + first, rows, weight.columns());
      });
  return all;
}

std::vector<double> gradients(const at::Tensor& x, const RightOperand<at::BFloat16>& weight,
                              const std::int64_t* target, double scale, const at::Tensor& dlogits) {
  const std::int64_t vocabulary = weight.columns();
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  auto* out = static_cast<rows::Bf16Bits*>(dlogits.mutable_data_ptr());
  const auto finish = [&](std::int64_t first, std::int64_t rows, float* logits) {
    differentiate(logits, target + first, scale, all.data() + first, rows, vocabulary);
    rows::to_bf16(logits, out + first * vocabulary, rows * vocabulary);
  };
  for_logit_panels<at::BFloat16>(x, weight, fresh_panel(x, vocabulary), finish);
  return all;
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// The matrix for logits, and for their gradients' way back.
template <class T>
struct Pair {
  explicit Pair(const at::Tensor& weight)
      : forward(RightOperand<T>::transposed(weight)), backward(RightOperand<T>::plain(weight)) {}
  RightOperand<T> forward;
  RightOperand<T> backward;
};

}  // namespace

struct LinearCrossEntropy::Operands {
  std::variant<Pair<float>, Pair<at::BFloat16>> pair;

  static std::unique_ptr<Operands> lay_out(const at::Tensor& weight) {
    if (weight.scalar_type() == at::kFloat) {
      return std::make_unique<Operands>(Operands{Pair<float>(weight)});
    }
    return std::make_unique<Operands>(Operands{Pair<at::BFloat16>(weight)});
  }
};

bool LinearCrossEntropy::in_panels(const at::Tensor& weight) {
  return goes_into_blocks(weight) && is_left_depth(weight.scalar_type(), weight.size(1));
}

LinearCrossEntropy::LinearCrossEntropy(const at::Tensor& weight) : weight_(weight) {
  if (in_panels(weight)) operands_ = Operands::lay_out(weight);
}

LinearCrossEntropy::~LinearCrossEntropy() = default;

double LinearCrossEntropy::loss(const at::Tensor& x, const at::Tensor& targets) const {
  if (!operands_) return cross_entropy(kernels::linear(x, weight_), targets);
  const OperationTimer timer("logits and loss", product_work(x, weight_));
  const auto* target = targets.const_data_ptr<std::int64_t>();
  return std::visit([&](const auto& pair) { return sum(losses(x, pair.forward, target)); },
                    operands_->pair);
}

CrossEntropyGradient LinearCrossEntropy::with_gradient(const at::Tensor& x,
                                                       const at::Tensor& targets,
                                                       double gradient_scale) const {
  CrossEntropyGradient result;
  if (!operands_) {
    result.dlogits = kernels::linear(x, weight_);
    result.loss = cross_entropy_with_gradient(result.dlogits, targets, gradient_scale);
    return result;
  }
  const OperationTimer timer("logits and loss", product_work(x, weight_));
  const auto* target = targets.const_data_ptr<std::int64_t>();
  result.dlogits = at::empty({x.size(0), weight_.size(0)}, x.options());
  result.loss = std::visit(
      [&](const auto& pair) {
        return sum(gradients(x, pair.forward, target, gradient_scale, result.dlogits));
      },
      operands_->pair);
  return result;
}

at::Tensor LinearCrossEntropy::input_gradient(const at::Tensor& dlogits) const {
  if (!operands_ || !is_left_depth(dlogits.scalar_type(), dlogits.size(1)))
    return linear_input_gradient(dlogits, weight_);
  const OperationTimer timer("product dX", product_work(dlogits, weight_));
  return std::visit([&](const auto& pair) { return multiply(dlogits, pair.backward); },
                    operands_->pair);
}

}  // namespace penstock::kernels
