#include "kernels/linear_cross_entropy.h"

#include <numeric>
#include <vector>

#include "base/operation_profile.h"
#include "kernels/blocked_product.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/rows.h"

namespace penstock::kernels {
namespace {

bool in_panels(const at::Tensor& x, const at::Tensor& weight) {
  const bool pairs = x.scalar_type() == at::kFloat || x.size(1) % 2 == 0;
  return x.is_cpu() && x.is_contiguous() && weight.is_contiguous() && pairs &&
         has_block_products(x.scalar_type());
}

OperationWork work_of(const at::Tensor& x, const at::Tensor& weight) {
  return {.flops = 2.0 * static_cast<double>(x.size(0)) * static_cast<double>(weight.numel())};
}

/// Calls place(first, rows) for every panel, which says where its logits [rows, V] are to be
/// formed, and finish(first, rows, logits) when they are.
template <class T, class Place, class Finish>
void for_logit_panels(const at::Tensor& x, const at::Tensor& weight, Place place, Finish finish) {
  const auto b = RightOperand<T>::transposed(weight);
  const std::int64_t width = x.size(1);
  const std::int64_t vocabulary = weight.size(0);
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
auto fresh_panel(const at::Tensor& x, const at::Tensor& weight) {
  return [options = x.options().dtype(at::kFloat), vocabulary = weight.size(0)](std::int64_t,
                                                                                std::int64_t rows) {
    return at::empty({rows, vocabulary}, options);
  };
}

template <class T>
std::vector<double> losses(const at::Tensor& x, const at::Tensor& weight,
                           const std::int64_t* target) {
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  const auto finish = [&](std::int64_t first, std::int64_t rows, const float* logits) {
    rows::loops<float>().cross_entropy(logits, target + first, all.data() + first, rows,
                                       weight.size(0));
  };
  for_logit_panels<T>(x, weight, fresh_panel(x, weight), finish);
  return all;
}

/// Softmax gradients in the place of logits.
void differentiate(float* logits, const std::int64_t* target, double scale, double* losses,
                   std::int64_t rows, std::int64_t vocabulary) {
  std::vector<float> scratch(static_cast<std::size_t>(vocabulary));
  rows::loops<float>().cross_entropy_gradient(logits, target, scale, losses, scratch.data(), rows,
                                              vocabulary);
}

std::vector<double> fp32_gradients(const at::Tensor& x, const at::Tensor& weight,
                                   const std::int64_t* target, double scale,
                                   const at::Tensor& dlogits) {
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  for_logit_panels<float>(
      x, weight,
      [&](std::int64_t first, std::int64_t rows) { return dlogits.narrow(0, first, rows); },
      [&](std::int64_t first, std::int64_t rows, float* logits) {
        differentiate(logits, target + first, scale, all.data() + first, rows, weight.size(0));
      });
  return all;
}

std::vector<double> bf16_gradients(const at::Tensor& x, const at::Tensor& weight,
                                   const std::int64_t* target, double scale,
                                   const at::Tensor& dlogits) {
  const std::int64_t vocabulary = weight.size(0);
  std::vector<double> all(static_cast<std::size_t>(x.size(0)));
  auto* out = static_cast<rows::Bf16Bits*>(dlogits.mutable_data_ptr());
  for_logit_panels<at::BFloat16>(
      x, weight, fresh_panel(x, weight), [&](std::int64_t first, std::int64_t rows, float* logits) {
        differentiate(logits, target + first, scale, all.data() + first, rows, vocabulary);
        rows::to_bf16(logits, out + first * vocabulary, rows * vocabulary);
      });
  return all;
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

double linear_cross_entropy(const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& targets) {
  if (!in_panels(x, weight)) return cross_entropy(kernels::linear(x, weight), targets);
  const OperationTimer timer("logits and loss", work_of(x, weight));
  const auto* target = targets.const_data_ptr<std::int64_t>();
  return sum(x.scalar_type() == at::kFloat ? losses<float>(x, weight, target)
                                           : losses<at::BFloat16>(x, weight, target));
}

CrossEntropyGradient linear_cross_entropy_with_gradient(const at::Tensor& x,
                                                        const at::Tensor& weight,
                                                        const at::Tensor& targets,
                                                        double gradient_scale) {
  CrossEntropyGradient result;
  if (!in_panels(x, weight)) {
    result.dlogits = kernels::linear(x, weight);
    result.loss = cross_entropy_with_gradient(result.dlogits, targets, gradient_scale);
    return result;
  }
  const OperationTimer timer("logits and loss", work_of(x, weight));
  const auto* target = targets.const_data_ptr<std::int64_t>();
  result.dlogits = at::empty({x.size(0), weight.size(0)}, x.options());
  result.loss = sum(x.scalar_type() == at::kFloat
                        ? fp32_gradients(x, weight, target, gradient_scale, result.dlogits)
                        : bf16_gradients(x, weight, target, gradient_scale, result.dlogits));
  return result;
}

}  // namespace penstock::kernels
