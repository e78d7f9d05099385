#include "kernels/newton_schulz.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/operation_profile.h"
#include "kernels/newton_schulz_symmetric.h"

namespace penstock::kernels {
namespace {

struct Triple {
  double a, b, c;
};

constexpr Triple classic = {3.4445, -4.7750, 2.0315};
constexpr std::array<Triple, 5> polar_express = {{
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
}};

Triple triple(NewtonSchulzCoefficients coefficients, std::int64_t step) {
  if (coefficients == NewtonSchulzCoefficients::classic) return classic;
  return polar_express[std::min(static_cast<std::size_t>(step), polar_express.size() - 1)];
}

/// What the gradient is divided by. The norm is that of the last two dimensions, which are kept.
at::Tensor divisor(const at::Tensor& gradient, NewtonSchulzCoefficients coefficients) {
  const at::Tensor norm = at::linalg_vector_norm(gradient, 2, {{-2, -1}}, true);
  return coefficients == NewtonSchulzCoefficients::classic ? norm + 1e-7 : norm * 1.02 + 1e-6;
}

at::Tensor start(const at::Tensor& gradient, const NewtonSchulz& options) {
  const at::Tensor g = gradient.contiguous();  // a view's norm would be summed in another order
  return g.div(divisor(g, options.coefficients)).to(options.precision);
}

/// Rows of a block for a Gram matrix [n, n]; n itself is the plain product. More blocks save more
/// multiplications, but small products are slow, and in bf16 each costs about 10 us besides.
/// Measured on one thread for n = 64 .. 1024 (benchmarks/newton_schulz.cpp).
std::int64_t block_rows(std::int64_t n, at::ScalarType precision) {
  if (precision == at::kBFloat16) return n < 384 ? n : 192;
  return n < 128 ? n : 64;
}

/// One matrix on the CPU. Nothing is transposed in memory: of a tall one A is X^T X.
at::Tensor one_by_symmetry(const at::Tensor& gradient, const NewtonSchulz& options) {
  at::Tensor x = start(gradient, options);
  const bool wide = x.size(0) <= x.size(1);
  const std::int64_t n = std::min(x.size(0), x.size(1));
  const std::int64_t block = block_rows(n, options.precision);
  at::Tensor gram = at::empty({n, n}, x.options());
  at::Tensor polynomial = at::empty_like(gram);
  at::Tensor next = at::empty_like(x);
  for (std::int64_t step = 0; step < options.steps; ++step) {
    const auto [a, b, c] = triple(options.coefficients, step);
    symmetric_product(wide ? x : x.t(), gram, block);
    symmetric_quadratic(gram, b, c, polynomial, block);
    at::addmm_out(next, x, wide ? polynomial : x, wide ? x : polynomial, a, 1);
    std::swap(x, next);
  }
  return x.to(at::kFloat);
}

/// X X^T and its square by one triangle, r^2 c + r^3, and the product with X, 2 r^2 c, per step.
double flops_of(const at::Tensor& gradient, std::int64_t steps) {
  const auto rows = static_cast<double>(gradient.size(-2));
  const auto columns = static_cast<double>(gradient.size(-1));
  const double r = std::min(rows, columns);
  const double c = std::max(rows, columns);
  const auto matrices = static_cast<double>(gradient.numel()) / (rows * columns);
  return static_cast<double>(steps) * matrices * (3 * r * r * c + r * r * r);
}

}  // namespace

at::Tensor newton_schulz_plain(const at::Tensor& gradient, const NewtonSchulz& options) {
  const bool batched = gradient.dim() == 3;
  at::Tensor x = start(batched ? gradient : gradient.unsqueeze(0), options);
  const bool wide = x.size(1) <= x.size(2);
  for (std::int64_t step = 0; step < options.steps; ++step) {
    const auto [a, b, c] = triple(options.coefficients, step);
    const at::Tensor transposed = x.transpose(1, 2);
    const at::Tensor gram = wide ? at::bmm(x, transposed) : at::bmm(transposed, x);
    const at::Tensor polynomial = at::baddbmm(gram, gram, gram, b, c);
    x = wide ? at::baddbmm(x, polynomial, x, a, 1) : at::baddbmm(x, x, polynomial, a, 1);
  }
  return (batched ? x : x.squeeze(0)).to(at::kFloat);
}

at::Tensor newton_schulz(const at::Tensor& gradient, const NewtonSchulz& options) {
  const OperationTimer timer("newton-schulz", {.flops = flops_of(gradient, options.steps)});
  if (!gradient.is_cpu()) return newton_schulz_plain(gradient, options);
  if (gradient.dim() == 2) return one_by_symmetry(gradient, options);
  at::Tensor result = at::empty(gradient.sizes(), gradient.options());
  for (std::int64_t i = 0; i < gradient.size(0); ++i) {
    result[i].copy_(one_by_symmetry(gradient[i], options));
  }
  return result;
}

}  // namespace penstock::kernels
