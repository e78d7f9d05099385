#pragma once
// What an update is made from, and where it goes.

#include <ATen/ATen.h>

#include <cstdint>

namespace penstock::engine {

/// A gradient and where it was taken. Of one parameter, or flat of a stage.
struct Gradient {
  at::Tensor values;
  double scale = 1;        ///< Still to be multiplied: clipping.
  std::int64_t delay = 1;  ///< Updates between the weights it was taken at and the newest.
  at::Tensor seen = {};  ///< Those weights, fp32 or bf16; undefined: the newest are taken instead.
};

/// Where an update reads and writes weights. All fp32, but for `compute`.
struct WeightPlaces {
  at::Tensor newest;
  at::Tensor next;          ///< May be `newest`, and may be what `Gradient::seen` shows.
  at::Tensor compute = {};  ///< Gets a bf16 copy of `next`; undefined: none is wanted.
};

}  // namespace penstock::engine
