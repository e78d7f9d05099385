#include "optim/orthogonalization.h"

#include <algorithm>
#include <cmath>

namespace penstock::optim {

double scale_factor(Scale scale, const at::Tensor& matrix) {
  const auto rows = static_cast<double>(matrix.size(0));
  const auto columns = static_cast<double>(matrix.size(1));
  switch (scale) {
    case Scale::original:
      return std::sqrt(std::max(1.0, rows / columns));
    case Scale::match_rms_adamw:
      return 0.2 * std::sqrt(std::max(rows, columns));
    case Scale::spectral:
      return std::sqrt(rows / columns);
  }
  return 1;
}

at::Tensor advance(at::Tensor& momentum, const at::Tensor& gradient, double mu, double lead) {
  const at::Tensor change = (gradient - momentum).mul_(1 - mu);
  momentum.add_(change);
  return momentum.add(change, lead);
}

std::vector<at::Tensor> orthogonalize(const std::vector<at::Tensor>& directions,
                                      const OrthogonalizationOptions& options) {
  const bool bf16 = options.ns_precision == config::Precision::bf16;
  const kernels::NewtonSchulz newton_schulz{.coefficients = options.ns_coefficients,
                                            .steps = options.ns_steps,
                                            .precision = bf16 ? at::kBFloat16 : at::kFloat};
  if (directions.size() > 1 && !directions.front().is_cpu()) {
    return at::unbind(kernels::newton_schulz(at::stack(directions), newton_schulz));
  }
  std::vector<at::Tensor> results;
  for (const at::Tensor& direction : directions) {
    results.push_back(kernels::newton_schulz(direction, newton_schulz));
  }
  return results;
}

}  // namespace penstock::optim
