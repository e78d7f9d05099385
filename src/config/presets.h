#pragma once
// Named model shapes.

#include <span>
#include <string_view>

#include "config/config.h"

namespace penstock::config {

/// All presets, smallest first; `preset` holds the name.
///   nano          learns visible structure in minutes on a CPU
///   bench-10m     the benchmarks' model
///   smollm2-135m  134,515,008 parameters, shape of SmolLM2-135M
///   smollm2-360m  361,821,120 parameters, shape of SmolLM2-360M
/// RMSNorm eps and RoPE base keep this program's defaults (SmolLM2 was trained with RoPE base 1e5).
std::span<const ModelConfig> presets();

/// nullptr where there is none of that name.
const ModelConfig* find_preset(std::string_view name);

}  // namespace penstock::config
