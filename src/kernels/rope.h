#pragma once
// Rotary position embedding in the half-rotation form of Hugging Face's Llama: the pair
// (x[i], x[i + D/2]) of a head at position t is rotated by t / base^(2i/D).
// Source: Su et al. 2021, arXiv 2104.09864.
// Shapes: T positions, D head width. Threads: any.

#include <ATen/ATen.h>

namespace penstock::kernels {

struct RotaryTables {
  at::Tensor cosine;  // [T, D/2] fp32
  at::Tensor sine;    // [T, D/2] fp32
};

/// Angles are formed in fp32 from fp32 frequencies, as the reference implementations do; on the
/// CPU, so that the tables are the same bits on every device.
RotaryTables rotary_tables(std::int64_t positions, std::int64_t head_width, double base,
                           at::Device device = at::kCPU);

enum class Rotation { forward, inverse };

/// Rotates, in place, the first `heads` heads of every row of x [N, row_width]; row n is at
/// position n mod `positions`. The inverse is the gradient of the forward rotation.
void rotate(at::Tensor x, std::int64_t heads, std::int64_t head_width, std::int64_t positions,
            const RotaryTables& tables, Rotation direction);

}  // namespace penstock::kernels
