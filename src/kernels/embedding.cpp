#include "kernels/embedding.h"

#include <ATen/Parallel.h>

#include <utility>

#include "base/operation_profile.h"
#include "kernels/composed.h"
#include "kernels/row_elements.h"

namespace penstock::kernels {

void add_embedding_gradient(at::Tensor gradient, const at::Tensor& dy, const at::Tensor& tokens) {
  if (!gradient.is_cpu()) {
    composed::add_embedding_gradient(std::move(gradient), dy, tokens);
    return;
  }
  const OperationTimer timer("table gradient",
                             {.bytes = static_cast<double>(dy.nbytes() + 2 * 4 * dy.numel())});
  const auto* token = tokens.const_data_ptr<std::int64_t>();
  auto* table = gradient.mutable_data_ptr<float>();
  const std::int64_t width = dy.size(1);
  // Threads share the columns, so each sum is formed in the order of the tokens.
  constexpr std::int64_t least_columns = 64;
  with_element_type(dy, [&]<class T>(T) {
    const T* in = elements<T>(dy);
    at::parallel_for(0, width, least_columns, [&](std::int64_t begin, std::int64_t end) {
      rows::loops<T>().add_to_rows(in, token, table, dy.size(0), width, begin, end);
    });
  });
}

}  // namespace penstock::kernels
