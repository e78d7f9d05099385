#include "checkpoint/weights_hash.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace penstock::checkpoint {

std::string weights_hash(const std::map<std::string, at::Tensor>& weights) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (const auto& [name, tensor] : weights) {
    const at::Tensor data = tensor.contiguous();
    XXH3_64bits_update(&state, data.const_data_ptr(), data.nbytes());
  }
  return fmt::format("{:016x}", XXH3_64bits_digest(&state));
}

}  // namespace penstock::checkpoint
