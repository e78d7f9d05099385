#include "kernels/cross_entropy.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/composed.h"
#include "kernels/row_buffer.h"

namespace penstock::kernels {
namespace {

/// Runs row_loss(buffer, row, target) for every row and adds the results in row order.
template <class RowLoss>
double sum_over_rows(const at::Tensor& logits, const at::Tensor& targets, RowLoss row_loss) {
  const auto* target = targets.const_data_ptr<std::int64_t>();
  std::vector<double> losses(static_cast<std::size_t>(logits.size(0)));
  at::parallel_for(0, logits.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer buffer(logits);
    for (std::int64_t row = begin; row < end; ++row) {
      losses[static_cast<std::size_t>(row)] = row_loss(buffer, row, target[row]);
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace

double cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  if (!logits.is_cpu()) return composed::cross_entropy(logits, targets).item<double>();
  const std::int64_t width = logits.size(1);
  return sum_over_rows(logits, targets,
                       [&](RowBuffer& buffer, std::int64_t row, std::int64_t target) {
                         const float* values = buffer.load(row);
                         const float peak = rows::maximum(values, width);
                         const double sum = rows::sum_of_exponentials(values, peak, width);
                         return std::log(sum) + (static_cast<double>(peak) - values[target]);
                       });
}

double cross_entropy_with_gradient(at::Tensor logits, const at::Tensor& targets,
                                   double gradient_scale) {
  if (!logits.is_cpu()) {
    return composed::cross_entropy_with_gradient(std::move(logits), targets, gradient_scale)
        .item<double>();
  }
  const std::int64_t width = logits.size(1);
  return sum_over_rows(logits, targets,
                       [&](RowBuffer& buffer, std::int64_t row, std::int64_t target) {
                         float* values = buffer.load(row);
                         const float peak = rows::maximum(values, width);
                         const double target_logit = values[target];
                         const double sum = rows::exponentials(values, peak, width);
                         rows::multiply(values, static_cast<float>(gradient_scale / sum), width);
                         values[target] -= static_cast<float>(gradient_scale);
                         buffer.store(row);
                         return std::log(sum) + (peak - target_logit);
                       });
}

}  // namespace penstock::kernels
