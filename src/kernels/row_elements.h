#pragma once
// Tensors as the loops of rows.h see them.

#include <ATen/ATen.h>

#include "kernels/rows.h"

namespace penstock::kernels {

/// Calls work(T{}) with the type of the tensor's elements: float, or Bf16Bits for bf16.
template <class Work>
auto with_element_type(const at::Tensor& tensor, Work work) {
  if (tensor.scalar_type() == at::kBFloat16) return work(rows::Bf16Bits{});
  TORCH_INTERNAL_ASSERT(tensor.scalar_type() == at::kFloat);
  return work(float{});
}

/// The elements of a contiguous tensor of this type; null where the tensor is undefined.
template <class T>
T* elements(const at::Tensor& tensor) {
  if (!tensor.defined()) return nullptr;
  constexpr auto type = sizeof(T) == sizeof(float) ? at::kFloat : at::kBFloat16;
  TORCH_INTERNAL_ASSERT(tensor.is_contiguous() && tensor.scalar_type() == type);
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace penstock::kernels
