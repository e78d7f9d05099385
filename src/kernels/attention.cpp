#include "kernels/attention.h"

#include "base/operation_profile.h"
#include "kernels/block_attention.h"
#include "kernels/composed.h"
#include "kernels/flash_attention.h"

namespace penstock::kernels {
namespace {

std::int64_t queries(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  return composed::queries_at_once(shape, sequences, qkv.size(0) / sequences);
}

/// `products` of T x T by D each, of which causality leaves the half.
OperationWork work_of(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences,
                      int products) {
  const auto rows = static_cast<double>(qkv.size(0));
  const double tokens = rows / static_cast<double>(sequences);
  return {.flops = products * rows * (tokens + 1) * static_cast<double>(shape.heads * shape.width)};
}

}  // namespace

Attended attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  const OperationTimer timer("attention", work_of(qkv, shape, sequences, 2));
  if (!qkv.is_cpu()) {
    return composed::attention(qkv, shape, sequences, queries(qkv, shape, sequences));
  }
  return has_block_attention(qkv, shape) ? block_attention(qkv, shape, sequences)
                                         : flash_attention(qkv, shape, sequences);
}

at::Tensor attention_backward(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
                              const HeadShape& shape, std::int64_t sequences) {
  const OperationTimer timer("attention backward", work_of(qkv, shape, sequences, 5));
  if (!qkv.is_cpu()) {
    return composed::attention_backward(dy, qkv, forward, shape, sequences,
                                        queries(qkv, shape, sequences));
  }
  return has_block_attention(qkv, shape)
             ? block_attention_backward(dy, qkv, forward, shape, sequences)
             : flash_attention_backward(dy, qkv, forward, shape, sequences);
}

}  // namespace penstock::kernels
