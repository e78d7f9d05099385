#pragma once
// What travels between two ranks.

#include <ATen/ATen.h>

#include <vector>

#include "ranks/bytes.h"

namespace penstock::ranks {

/// A few values, and tensors in the CPU's memory, some of which may be undefined.
struct Frame {
  Bytes head;
  std::vector<at::Tensor> tensors;
};

/// The head of a frame together with the types and shapes of its tensors, and the way back.
/// unpack() allocates the tensors without filling them in.
Bytes pack(const Frame& frame);
Frame unpack(std::span<const std::byte> packed);

}  // namespace penstock::ranks
