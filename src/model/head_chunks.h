#pragma once
// How the head's rows are cut, so that logits of a whole micro-batch never exist. No tensors here.

#include <algorithm>
#include <cstdint>

namespace penstock::model {

/// Rows of one chunk: their logits' gradients, of `element_bytes` each, take some 8 MiB, but 256
/// rows are always worked on at once, because the whole gradient of the head's matrix passes
/// through memory for every chunk.
inline std::int64_t head_chunk_rows(std::int64_t vocabulary, std::int64_t element_bytes) {
  constexpr std::int64_t bytes = std::int64_t{8} << 20;
  constexpr std::int64_t fewest = 256;
  return std::max(fewest, bytes / (vocabulary * element_bytes) / fewest * fewest);
}

}  // namespace penstock::model
