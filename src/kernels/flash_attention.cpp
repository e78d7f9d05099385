#include "kernels/flash_attention.h"

#include <tuple>

namespace penstock::kernels {
namespace {

struct Projections {
  at::Tensor query, key, value;  // [B, heads, T, D] views
};

Projections split(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  const auto heads =
      qkv.view({sequences, -1, shape.heads + 2 * shape.kv_heads, shape.width}).transpose(1, 2);
  return {heads.narrow(1, 0, shape.heads), heads.narrow(1, shape.heads, shape.kv_heads),
          heads.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads)};
}

/// [B, heads, T, D] -> [B*T, heads*D]
at::Tensor to_rows(const at::Tensor& heads) {
  return heads.transpose(1, 2).reshape({heads.size(0) * heads.size(2), -1});
}

at::Tensor to_heads(const at::Tensor& rows, std::int64_t sequences, std::int64_t width) {
  return rows.view({sequences, rows.size(0) / sequences, -1, width}).transpose(1, 2);
}

constexpr double no_dropout = 0.0;
constexpr bool causal = true;

}  // namespace

Attended flash_attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  const auto [query, key, value] = split(qkv, shape, sequences);
  auto [y, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, no_dropout,
                                                                      causal, {}, {});
  return {to_rows(y), log_sum};
}

at::Tensor flash_attention_backward(const at::Tensor& dy, const at::Tensor& qkv,
                                    const Attended& forward, const HeadShape& shape,
                                    std::int64_t sequences) {
  const auto [query, key, value] = split(qkv, shape, sequences);
  const auto [dquery, dkey, dvalue] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      to_heads(dy, sequences, shape.width), query, key, value,
      to_heads(forward.y, sequences, shape.width), forward.log_sum, no_dropout, causal, {}, {});
  return at::cat({to_rows(dquery), to_rows(dkey), to_rows(dvalue)}, 1);
}

}  // namespace penstock::kernels
