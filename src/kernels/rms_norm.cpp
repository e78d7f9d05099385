#include "kernels/rms_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/operation_profile.h"
#include "kernels/composed.h"
#include "kernels/row_elements.h"

namespace penstock::kernels {
namespace {

// Rows per task. Each task has its own gain gradient, added up in order afterwards, so the sum
// does not depend on which thread ran which task.
constexpr std::int64_t task_rows = 128;

std::int64_t task_count(std::int64_t rows) { return (rows + task_rows - 1) / task_rows; }

}  // namespace

Normalized rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (!x.is_cpu()) return composed::rms_norm(x, gain, eps);
  const OperationTimer timer("norm", {.bytes = 2.0 * static_cast<double>(x.nbytes())});
  const std::int64_t n = x.size(0);
  const std::int64_t width = x.size(1);
  Normalized result{at::empty_like(x), at::empty({n}, x.options().dtype(at::kFloat))};
  auto* inverse_rms = result.inverse_rms.mutable_data_ptr<float>();
  with_element_type(x, [&]<class T>(T) {
    const T* in = elements<T>(x);
    const T* g = elements<T>(gain);
    T* y = elements<T>(result.y);
    at::parallel_for(0, n, task_rows, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * width;
      rows::loops<T>().norm(in + first, g, eps, y + first, inverse_rms + begin, end - begin, width);
    });
  });
  return result;
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& gain,
                             const at::Tensor& inverse_rms, const at::Tensor& residual,
                             at::Tensor gain_gradient) {
  if (!x.is_cpu()) {
    return composed::rms_norm_backward(dy, x, gain, inverse_rms, residual,
                                       std::move(gain_gradient));
  }
  const OperationTimer timer("norm backward", {.bytes = (residual.defined() ? 4.0 : 3.0) *
                                                        static_cast<double>(x.nbytes())});
  const std::int64_t n = x.size(0);
  const std::int64_t width = x.size(1);
  const auto* inverse = inverse_rms.const_data_ptr<float>();
  at::Tensor dx = at::empty_like(x);
  std::vector<float> gain_parts(static_cast<std::size_t>(task_count(n) * width));
  with_element_type(x, [&]<class T>(T) {
    const T* grad_in = elements<T>(dy);
    const T* in = elements<T>(x);
    const T* g = elements<T>(gain);
    const T* skip = elements<T>(residual);
    T* out = elements<T>(dx);
    at::parallel_for(0, task_count(n), 1, [&](std::int64_t first_task, std::int64_t last_task) {
      for (std::int64_t task = first_task; task < last_task; ++task) {
        const std::int64_t begin = task * task_rows;
        const std::int64_t first = begin * width;
        rows::loops<T>().norm_gradient(grad_in + first, in + first, g, inverse + begin,
                                       skip == nullptr ? nullptr : skip + first, out + first,
                                       gain_parts.data() + task * width,
                                       std::min(task_rows, n - begin), width);
      }
    });
  });
  auto* total = gain_gradient.mutable_data_ptr<float>();
  for (std::int64_t task = 0; task < task_count(n); ++task) {
    rows::add(gain_parts.data() + task * width, total, width);
  }
  return dx;
}

}  // namespace penstock::kernels
