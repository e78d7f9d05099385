#include "kernels/cross_entropy.h"

#include <ATen/Parallel.h>

#include <numeric>
#include <utility>
#include <vector>

#include "base/operation_profile.h"
#include "kernels/composed.h"
#include "kernels/row_elements.h"

namespace penstock::kernels {
namespace {

/// Calls work(first row, end, losses of all rows) for groups of rows, and adds the losses in order.
template <class Work>
double sum_over_rows(std::int64_t rows, Work work) {
  std::vector<double> losses(static_cast<std::size_t>(rows));
  at::parallel_for(0, rows, 8,
                   [&](std::int64_t begin, std::int64_t end) { work(begin, end, losses.data()); });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace

double cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  if (!logits.is_cpu()) return composed::cross_entropy(logits, targets).item<double>();
  const OperationTimer timer("cross-entropy", {.bytes = static_cast<double>(logits.nbytes())});
  const std::int64_t width = logits.size(1);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  return with_element_type(logits, [&]<class T>(T) {
    const T* in = elements<T>(logits);
    return sum_over_rows(logits.size(0), [&](std::int64_t begin, std::int64_t end, double* losses) {
      rows::loops<T>().cross_entropy(in + begin * width, target + begin, losses + begin,
                                     end - begin, width);
    });
  });
}

double cross_entropy_with_gradient(at::Tensor logits, const at::Tensor& targets,
                                   double gradient_scale) {
  if (!logits.is_cpu()) {
    return composed::cross_entropy_with_gradient(std::move(logits), targets, gradient_scale)
        .item<double>();
  }
  const OperationTimer timer("cross-entropy",
                             {.bytes = 2.0 * static_cast<double>(logits.nbytes())});
  const std::int64_t width = logits.size(1);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  return with_element_type(logits, [&]<class T>(T) {
    T* values = elements<T>(logits);
    return sum_over_rows(logits.size(0), [&](std::int64_t begin, std::int64_t end, double* losses) {
      std::vector<float> scratch(static_cast<std::size_t>(width));
      rows::loops<T>().cross_entropy_gradient(values + begin * width, target + begin,
                                              gradient_scale, losses + begin, scratch.data(),
                                              end - begin, width);
    });
  });
}

}  // namespace penstock::kernels
