#pragma once
// Rows of fp32 or bf16 tensors seen as floats.

#include <ATen/ATen.h>

#include <vector>

#include "kernels/rows.h"

namespace penstock::kernels {

/// Gives the rows of a contiguous [rows, width] tensor as floats: fp32 rows directly, bf16 rows
/// through a scratch row that this object owns. One object per thread and tensor.
class RowBuffer {
 public:
  explicit RowBuffer(const at::Tensor& tensor)
      : RowBuffer(tensor, tensor.dim() < 2 ? tensor.numel() : tensor.size(-1)) {}
  RowBuffer(const at::Tensor& tensor, std::int64_t width)
      : base_(tensor.data_ptr()), width_(width), is_bf16_(tensor.scalar_type() == at::kBFloat16) {
    TORCH_INTERNAL_ASSERT(tensor.is_contiguous());
    TORCH_INTERNAL_ASSERT(is_bf16_ || tensor.scalar_type() == at::kFloat);
    if (is_bf16_) scratch_.resize(static_cast<std::size_t>(width));
  }

  /// The row's values. For bf16 valid until the next call; changes need store().
  float* load(std::int64_t row) {
    if (!is_bf16_) return floats(row);
    rows::to_float(bits(row), scratch_.data(), width_);
    return scratch_.data();
  }
  /// Where to write a whole new row before store().
  float* blank(std::int64_t row) { return is_bf16_ ? scratch_.data() : floats(row); }
  void store(std::int64_t row) {
    if (is_bf16_) rows::to_bf16(scratch_.data(), bits(row), width_);
  }

 private:
  float* floats(std::int64_t row) { return static_cast<float*>(base_) + row * width_; }
  rows::Bf16Bits* bits(std::int64_t row) {
    return static_cast<rows::Bf16Bits*>(base_) + row * width_;
  }

  void* base_;
  std::int64_t width_;
  bool is_bf16_;
  std::vector<float> scratch_;
};

}  // namespace penstock::kernels
