#pragma once
// A trained parameter by its Hugging Face name.

#include <ATen/ATen.h>

#include <string>

namespace penstock::engine {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // fp32
};

}  // namespace penstock::engine
