#pragma once
// A fingerprint of a model's weights.

#include <ATen/ATen.h>

#include <map>
#include <string>

namespace penstock::checkpoint {

/// XXH3 (64 bits, 16 hexadecimal digits) over the raw bytes of the fp32 tensors in name order.
/// Equal exactly if all weights are the same bits.
std::string weights_hash(const std::map<std::string, at::Tensor>& weights);

}  // namespace penstock::checkpoint
