#include "kernels/rope.h"

#include <ATen/Parallel.h>

#include <utility>

#include "base/operation_profile.h"
#include "kernels/composed.h"
#include "kernels/row_elements.h"

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
  const auto rotated = static_cast<double>(x.size(0) * heads * head_width * x.itemsize());
  const OperationTimer timer("rotation", {.bytes = 2.0 * rotated});
  const rows::Rotations rotations{.row_width = x.size(1),
                                  .heads = heads,
                                  .half = head_width / 2,
                                  .positions = positions,
                                  .cosines = elements<float>(tables.cosine),
                                  .sines = elements<float>(tables.sine),
                                  .direction = direction == Rotation::forward ? 1.0F : -1.0F};
  with_element_type(x, [&]<class T>(T) {
    T* values = elements<T>(x);
    at::parallel_for(0, x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
      rows::loops<T>().rotate(values, rotations, begin, end);
    });
  });
}

}  // namespace penstock::kernels
