#include "kernels/rms_norm.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/composed.h"
#include "kernels/row_buffer.h"

namespace penstock::kernels {
namespace {

// Rows per task. Each task has its own gain gradient, added up in order afterwards, so the sum
// does not depend on which thread ran which task.
constexpr std::int64_t task_rows = 128;

std::int64_t task_count(std::int64_t rows) { return (rows + task_rows - 1) / task_rows; }

}  // namespace

Normalized rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (!x.is_cpu()) return composed::rms_norm(x, gain, eps);
  const std::int64_t n = x.size(0);
  const std::int64_t width = x.size(1);
  Normalized result{at::empty_like(x), at::empty({n}, x.options().dtype(at::kFloat))};
  auto* inverse_rms = result.inverse_rms.mutable_data_ptr<float>();
  at::parallel_for(0, n, task_rows, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer gains(gain);
    RowBuffer input(x);
    RowBuffer output(result.y);
    const float* g = gains.load(0);
    for (std::int64_t row = begin; row < end; ++row) {
      const float* in = input.load(row);
      const double mean = rows::sum_of_squares(in, width) / static_cast<double>(width);
      inverse_rms[row] = static_cast<float>(1.0 / std::sqrt(mean + eps));
      rows::scale(in, inverse_rms[row], g, output.blank(row), width);
      output.store(row);
    }
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
  const std::int64_t n = x.size(0);
  const std::int64_t width = x.size(1);
  const auto* inverse = inverse_rms.const_data_ptr<float>();
  at::Tensor dx = at::empty_like(x);
  std::vector<float> gain_parts(static_cast<std::size_t>(task_count(n) * width));
  at::parallel_for(0, task_count(n), 1, [&](std::int64_t first, std::int64_t last) {
    RowBuffer gains(gain);
    RowBuffer grad_in(dy);
    RowBuffer input(x);
    RowBuffer skip(residual);
    RowBuffer output(dx);
    const float* g = gains.load(0);
    for (std::int64_t task = first; task < last; ++task) {
      float* part = gain_parts.data() + task * width;
      const std::int64_t end = std::min(n, (task + 1) * task_rows);
      for (std::int64_t row = task * task_rows; row < end; ++row) {
        const float* d = grad_in.load(row);
        const float* in = input.load(row);
        const float r = inverse[row];
        const float x_scale = r * r * r * rows::dot(d, g, in, width) / static_cast<float>(width);
        rows::norm_gradient(d, g, in, skip.load(row), r, x_scale, output.blank(row), part, width);
        output.store(row);
      }
    }
  });
  auto* total = gain_gradient.mutable_data_ptr<float>();
  for (std::int64_t task = 0; task < task_count(n); ++task) {
    rows::add(gain_parts.data() + task * width, total, width);
  }
  return dx;
}

}  // namespace penstock::kernels
