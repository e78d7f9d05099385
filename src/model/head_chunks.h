#pragma once
// How the head's rows are cut, so that logits of a large micro-batch never exist. No tensors here.

#include <algorithm>
#include <cstdint>

namespace penstock::model {

/// What exists of them at a time, beside a chunk of their gradients.
enum class Logits { in_panels, of_a_chunk };

/// Rows of one chunk, whose logits' gradients have `element_bytes` each. In panels they take some
/// 8 MiB, which stay in a cache; but 256 rows are always worked on at once, because the gradient of
/// the head's matrix passes through memory for every chunk. Otherwise, on a GPU above all, few
/// large products are better: 256 MiB.
inline std::int64_t head_chunk_rows(std::int64_t vocabulary, std::int64_t element_bytes,
                                    Logits logits) {
  constexpr std::int64_t mib = std::int64_t{1} << 20;
  constexpr std::int64_t fewest = 256;
  const std::int64_t bytes = (logits == Logits::in_panels ? 8 : 256) * mib;
  return std::max(fewest, bytes / (vocabulary * element_bytes) / fewest * fewest);
}

}  // namespace penstock::model
