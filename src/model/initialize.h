#pragma once
// Initial weights.

#include <ATen/ATen.h>

#include <cstdint>

#include "config/config.h"
#include "model/layout.h"

namespace penstock::model {

/// Fills the flat fp32 weights of a stage: gains 1, everything else normal with deviation 0.02, the
/// matrices that write into the residual stream (o_proj, down_proj) 0.02 / sqrt(2 layers) (Radford
/// et al. 2019). A pure function of (seed, parameter name), formed on the CPU, so every partition
/// and device starts with the same bits.
void initialize_weights(const Layout& layout, const config::ModelConfig& model, std::uint64_t seed,
                        at::Tensor flat);

}  // namespace penstock::model
