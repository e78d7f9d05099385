#include "kernels/embedding.h"

#include <utility>

#include "kernels/composed.h"
#include "kernels/row_buffer.h"

namespace penstock::kernels {

void add_embedding_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& tokens) {
  if (!gradient.is_cpu()) {
    composed::add_embedding_gradient(std::move(gradient), dy, tokens);
    return;
  }
  const auto* token = tokens.const_data_ptr<std::int64_t>();
  auto* table = gradient.mutable_data_ptr<float>();
  const std::int64_t width = dy.size(1);
  RowBuffer input(dy);
  for (std::int64_t row = 0; row < dy.size(0); ++row) {
    rows::add(input.load(row), table + token[row] * width, width);
  }
}

}  // namespace penstock::kernels
