#pragma once
// The tiny Llama of tests/golden and the results that Hugging Face's code gives for it.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/safetensors.h"
#include "config/config.h"
#include "model/unit_op.h"

namespace penstock::tests {

struct GoldenModel {
  config::ModelConfig config;
  std::map<std::string, at::Tensor> weights;    // fp32
  std::map<std::string, at::Tensor> gradients;  // fp64, of the mean loss
  at::Tensor logits;                            // [B, T, V] fp64
  double loss = 0;
  model::MicroBatch batch;
};

inline GoldenModel golden_model(bool tied) {
  const auto folder = std::filesystem::path(PENSTOCK_TEST_DATA) / "golden";
  auto file = checkpoint::read_safetensors(
      folder / (tied ? "llama_tiny_tied.safetensors" : "llama_tiny.safetensors"));
  GoldenModel golden;
  golden.config.layers = 2;
  golden.config.width = 32;
  golden.config.heads = 4;
  golden.config.kv_heads = 2;
  golden.config.ff = 48;
  golden.config.vocab = 67;
  golden.config.seq = 16;
  golden.config.tied = tied;
  for (auto& [name, tensor] : file.tensors) {
    if (name.starts_with("grad.")) {
      golden.gradients[name.substr(5)] = tensor;
    } else if (name.ends_with(".weight")) {
      golden.weights[name] = tensor;
    }
  }
  golden.logits = file.tensors.at("logits");
  golden.loss = file.tensors.at("loss").item<double>();
  const at::Tensor& tokens = file.tensors.at("tokens");
  golden.batch = {.inputs = tokens.reshape({-1}),
                  .targets = file.tensors.at("targets").reshape({-1}),
                  .sequences = tokens.size(0),
                  .gradient_scale = 1.0 / static_cast<double>(tokens.numel())};
  return golden;
}

/// |a - b| / |b| in the Euclidean norm, formed in double.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor reference = b.to(at::kDouble);
  return ((a.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

}  // namespace penstock::tests
