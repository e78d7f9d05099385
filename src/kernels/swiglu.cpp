#include "kernels/swiglu.h"

#include <ATen/Parallel.h>

#include "kernels/composed.h"
#include "kernels/row_buffer.h"

namespace penstock::kernels {
namespace {
constexpr std::int64_t task_rows = 32;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (!gate_up.is_cpu()) return composed::swiglu(gate_up);
  const std::int64_t width = gate_up.size(1) / 2;
  at::Tensor y = at::empty({gate_up.size(0), width}, gate_up.options());
  at::parallel_for(0, gate_up.size(0), task_rows, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer input(gate_up);
    RowBuffer output(y);
    for (std::int64_t row = begin; row < end; ++row) {
      const float* in = input.load(row);
      rows::swiglu(in, in + width, output.blank(row), width);
      output.store(row);
    }
  });
  return y;
}

at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up) {
  if (!gate_up.is_cpu()) return composed::swiglu_backward(dy, gate_up);
  const std::int64_t width = dy.size(1);
  at::Tensor gradient = at::empty_like(gate_up);
  at::parallel_for(0, dy.size(0), task_rows, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer grad_in(dy);
    RowBuffer input(gate_up);
    RowBuffer output(gradient);
    for (std::int64_t row = begin; row < end; ++row) {
      const float* in = input.load(row);
      float* out = output.blank(row);
      rows::swiglu_gradient(grad_in.load(row), in, in + width, out, out + width, width);
      output.store(row);
    }
  });
  return gradient;
}

}  // namespace penstock::kernels
