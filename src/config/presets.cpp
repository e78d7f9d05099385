#include "config/presets.h"

#include <array>

namespace penstock::config {
namespace {

ModelConfig bench_10m() {
  ModelConfig model;
  model.preset = "bench-10m";
  model.layers = 8;
  model.width = 256;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 768;
  model.vocab = 8192;
  model.seq = 256;
  model.tied = false;
  return model;
}

ModelConfig nano() {
  ModelConfig model;
  model.preset = "nano";
  model.layers = 4;
  model.width = 128;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 384;
  model.vocab = 2048;
  model.seq = 128;
  model.tied = true;
  return model;
}

ModelConfig smollm2_135m() {
  ModelConfig model;
  model.preset = "smollm2-135m";
  model.layers = 30;
  model.width = 576;
  model.heads = 9;
  model.kv_heads = 3;
  model.ff = 1536;
  model.vocab = 49152;
  model.seq = 2048;
  model.tied = true;
  return model;
}

ModelConfig smollm2_360m() {
  ModelConfig model;
  model.preset = "smollm2-360m";
  model.layers = 32;
  model.width = 960;
  model.heads = 15;
  model.kv_heads = 5;
  model.ff = 2560;
  model.vocab = 49152;
  model.seq = 2048;
  model.tied = true;
  return model;
}

}  // namespace

std::span<const ModelConfig> presets() {
  static const std::array<ModelConfig, 4> all = {nano(), bench_10m(), smollm2_135m(),
                                                 smollm2_360m()};
  return all;
}

const ModelConfig* find_preset(std::string_view name) {
  for (const ModelConfig& preset : presets()) {
    if (preset.preset == name) return &preset;
  }
  return nullptr;
}

}  // namespace penstock::config
