#include "kernels/swiglu.h"

#include <ATen/Parallel.h>

#include "base/operation_profile.h"
#include "kernels/composed.h"
#include "kernels/row_elements.h"

namespace penstock::kernels {
namespace {
constexpr std::int64_t task_rows = 32;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (!gate_up.is_cpu()) return composed::swiglu(gate_up);
  const OperationTimer timer("swiglu", {.bytes = 1.5 * static_cast<double>(gate_up.nbytes())});
  const std::int64_t width = gate_up.size(1) / 2;
  at::Tensor y = at::empty({gate_up.size(0), width}, gate_up.options());
  with_element_type(gate_up, [&]<class T>(T) {
    const T* in = elements<T>(gate_up);
    T* out = elements<T>(y);
    at::parallel_for(0, y.size(0), task_rows, [&](std::int64_t begin, std::int64_t end) {
      rows::loops<T>().swiglu(in + 2 * begin * width, out + begin * width, end - begin, width);
    });
  });
  return y;
}

at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up) {
  if (!gate_up.is_cpu()) return composed::swiglu_backward(dy, gate_up);
  const OperationTimer timer("swiglu backward",
                             {.bytes = 2.5 * static_cast<double>(gate_up.nbytes())});
  const std::int64_t width = dy.size(1);
  at::Tensor gradient = at::empty_like(gate_up);
  with_element_type(gate_up, [&]<class T>(T) {
    const T* grad_in = elements<T>(dy);
    const T* in = elements<T>(gate_up);
    T* out = elements<T>(gradient);
    at::parallel_for(0, dy.size(0), task_rows, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * width;
      rows::loops<T>().swiglu_gradient(grad_in + first, in + 2 * first, out + 2 * first,
                                       end - begin, width);
    });
  });
  return gradient;
}

}  // namespace penstock::kernels
