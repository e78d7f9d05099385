#include "kernels/newton_schulz.h"

namespace penstock::kernels {
namespace {

constexpr int steps = 5;
constexpr double a = 3.4445;
constexpr double b = -4.7750;
constexpr double c = 2.0315;
constexpr double epsilon = 1e-7;

}  // namespace

at::Tensor newton_schulz(const at::Tensor& gradient, at::ScalarType precision) {
  const bool tall = gradient.size(0) > gradient.size(1);
  at::Tensor x = tall ? gradient.t() : gradient;
  x = (x / (gradient.norm() + epsilon)).to(precision).contiguous();
  for (int step = 0; step < steps; ++step) {
    const at::Tensor gram = at::mm(x, x.t());
    const at::Tensor polynomial = at::addmm(gram, gram, gram, b, c);
    x = at::addmm(x, polynomial, x, a, 1);
  }
  x = x.to(at::kFloat);
  return tall ? x.t() : x;
}

}  // namespace penstock::kernels
