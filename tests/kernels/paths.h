#pragma once
// The implementations of the kernels, so that tests hold both to the same bounds.

#include <ATen/ATen.h>

#include <ostream>

#include "kernels/attention.h"
#include "kernels/composed.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/flash_attention.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

namespace penstock::tests {

struct Path {
  const char* name;
  decltype(&kernels::linear) linear;
  decltype(&kernels::linear_add) linear_add;
  decltype(&kernels::linear_input_gradient) linear_input_gradient;
  decltype(&kernels::linear_add_weight_gradient) linear_add_weight_gradient;
  decltype(&kernels::rms_norm) rms_norm;
  decltype(&kernels::rms_norm_backward) rms_norm_backward;
  decltype(&kernels::rotate) rotate;
  decltype(&kernels::swiglu) swiglu;
  decltype(&kernels::swiglu_backward) swiglu_backward;
  decltype(&kernels::cross_entropy) cross_entropy;
  decltype(&kernels::cross_entropy_with_gradient) cross_entropy_with_gradient;
  decltype(&kernels::attention) attention;
  decltype(&kernels::attention_backward) attention_backward;
  decltype(&kernels::add_embedding_gradient) add_embedding_gradient;
};

inline void PrintTo(const Path& path, std::ostream* out) { *out << path.name; }

/// What tensors on the CPU get: loops, and products of blocks where this machine has them.
inline const Path cpu_path{"cpu",
                           kernels::linear,
                           kernels::linear_add,
                           kernels::linear_input_gradient,
                           kernels::linear_add_weight_gradient,
                           kernels::rms_norm,
                           kernels::rms_norm_backward,
                           kernels::rotate,
                           kernels::swiglu,
                           kernels::swiglu_backward,
                           kernels::cross_entropy,
                           kernels::cross_entropy_with_gradient,
                           kernels::attention,
                           kernels::attention_backward,
                           kernels::add_embedding_gradient};

/// What tensors on other devices get, here on the CPU. Attention works on 16 queries at once, so
/// that small sequences have several blocks.
inline const Path composed_path{
    "composed",
    kernels::composed::linear,
    kernels::composed::linear_add,
    kernels::composed::linear_input_gradient,
    kernels::composed::linear_add_weight_gradient,
    kernels::composed::rms_norm,
    kernels::composed::rms_norm_backward,
    kernels::composed::rotate,
    kernels::composed::swiglu,
    kernels::composed::swiglu_backward,
    [](const at::Tensor& logits, const at::Tensor& targets) {
      return kernels::composed::cross_entropy(logits, targets).item<double>();
    },
    [](at::Tensor logits, const at::Tensor& targets, double scale) {
      return kernels::composed::cross_entropy_with_gradient(logits, targets, scale).item<double>();
    },
    [](const at::Tensor& qkv, const kernels::HeadShape& shape, std::int64_t sequences) {
      return kernels::composed::attention(qkv, shape, sequences, 16);
    },
    [](const at::Tensor& dy, const at::Tensor& qkv, const kernels::Attended& forward,
       const kernels::HeadShape& shape, std::int64_t sequences) {
      return kernels::composed::attention_backward(dy, qkv, forward, shape, sequences, 16);
    },
    kernels::composed::add_embedding_gradient};

inline const Path* const all_paths[] = {&cpu_path, &composed_path};

/// What tensors on a CPU without fast products of blocks get.
inline const Path flash_path = [] {
  Path path = cpu_path;
  path.name = "flash";
  path.attention = kernels::flash_attention;
  path.attention_backward = kernels::flash_attention_backward;
  return path;
}();

inline const Path* const attention_paths[] = {&cpu_path, &flash_path, &composed_path};

}  // namespace penstock::tests
