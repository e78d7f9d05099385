#pragma once
// A whole trained model, for using it rather than training it.

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "model/stage_model.h"

namespace penstock::train {

/// fp32, on the calling thread. Immutable: any number of threads.
class LanguageModel {
 public:
  /// `weights` by Hugging Face name; a tied model has no "lm_head.weight".
  /// Errors: UserError for a missing, additional or misshapen tensor.
  LanguageModel(const config::ModelConfig& config,
                const std::map<std::string, at::Tensor>& weights);

  /// tokens: [B, T] int64 with T <= seq. Returns logits [B, T, V].
  at::Tensor logits(const at::Tensor& tokens) const;

 private:
  model::StageModel model_;
  at::Tensor flat_;
  model::StageTensors tensors_;
};

struct Sampling {
  std::int64_t tokens = 200;
  double temperature = 0.8;  // 0: always the most likely token
  std::int64_t top_k = 50;   // 0: all
  std::uint64_t seed = 0;
};

/// Continues `prompt` (one token or more), stopping early at `stop`. The model sees the last seq
/// tokens. A pure function of its arguments.
std::vector<std::uint32_t> sample(const LanguageModel& model, std::int64_t seq,
                                  std::vector<std::uint32_t> prompt, std::uint32_t stop,
                                  const Sampling& sampling);

}  // namespace penstock::train
