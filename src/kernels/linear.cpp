#include "kernels/linear.h"

namespace penstock::kernels {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) { return at::mm(x, weight.t()); }

at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight) {
  return at::mm(dy, weight);
}

void linear_add_weight_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& x) {
  if (dy.scalar_type() == at::kFloat) {
    gradient.addmm_(dy.t(), x);
  } else {
    gradient.add_(at::mm(dy.t(), x));  // the product is rounded to bf16, the sum is not
  }
}

}  // namespace penstock::kernels
