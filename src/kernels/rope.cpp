#include "kernels/rope.h"

#include <ATen/Parallel.h>

#include <utility>

#include "kernels/composed.h"
#include "kernels/row_buffer.h"

namespace penstock::kernels {

RotaryTables rotary_tables(std::int64_t positions, std::int64_t head_width, double base,
                           at::Device device) {
  const auto even = at::arange(0, head_width, 2, at::kFloat);
  const auto frequency = at::pow(base, even / static_cast<double>(head_width)).reciprocal();
  const auto angle = at::outer(at::arange(positions, at::kFloat), frequency);
  return {angle.cos().to(device), angle.sin().to(device)};
}

void rotate(at::Tensor x, std::int64_t heads, std::int64_t head_width, std::int64_t positions,
            const RotaryTables& tables, Rotation direction) {
  if (!x.is_cpu()) {
    composed::rotate(std::move(x), heads, head_width, positions, tables, direction);
    return;
  }
  const std::int64_t half = head_width / 2;
  const at::Tensor sine = direction == Rotation::forward ? tables.sine : tables.sine.neg();
  const auto* cosines = tables.cosine.const_data_ptr<float>();
  const auto* sines = sine.const_data_ptr<float>();
  at::parallel_for(0, x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer buffer(x);
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t table = row % positions * half;
      float* values = buffer.load(row);
      for (std::int64_t head = 0; head < heads; ++head) {
        rows::rotate_halves(values + head * head_width, cosines + table, sines + table, half);
      }
      buffer.store(row);
    }
  });
}

}  // namespace penstock::kernels
