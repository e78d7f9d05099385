#include "train/language_model.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "model/layout.h"
#include "model/units.h"

namespace penstock::train {
namespace {

model::UnitRange all_units(const std::vector<model::Unit>& chain) {
  return {0, static_cast<std::int64_t>(chain.size())};
}

/// Copies every parameter to its place; complains about what does not fit.
void fill(at::Tensor flat, const model::Layout& layout,
          const std::map<std::string, at::Tensor>& weights) {
  std::size_t used = 0;
  for (const auto& parameter : layout.parameters) {
    if (!parameter.updated) continue;
    const auto found = weights.find(parameter.spec.name);
    if (found == weights.end()) {
      throw user_error("weights", "'{}' is missing; give the weights of the configured model",
                       parameter.spec.name);
    }
    const at::Tensor& given = found->second;
    if (given.sizes() != at::IntArrayRef(parameter.spec.shape)) {
      throw user_error("weights",
                       "'{}' has shape [{}], the configured model needs [{}]; give "
                       "weights and configuration of the same model",
                       parameter.spec.name, fmt::join(given.sizes().vec(), ", "),
                       fmt::join(parameter.spec.shape, ", "));
    }
    model::weight_view(parameter, flat).copy_(given);
    ++used;
  }
  if (used != weights.size()) {
    throw user_error("weights",
                     "{} tensors are given, the configured model has {}; give weights "
                     "and configuration of the same model",
                     weights.size(), used);
  }
}

std::int64_t draw(const at::Tensor& logits, const Sampling& sampling, std::uint64_t counter) {
  if (sampling.temperature == 0) return logits.argmax().item<std::int64_t>();
  const std::int64_t all = logits.numel();
  const std::int64_t kept = sampling.top_k == 0 ? all : std::min(sampling.top_k, all);
  const auto [values, indices] = logits.topk(kept);
  const at::Tensor sums =
      (values / sampling.temperature).to(at::kDouble).softmax(0).cumsum(0).contiguous();
  const auto* begin = sums.const_data_ptr<double>();
  const double point = random_uniform(random_key(sampling.seed, "sample"), counter);
  const auto place =
      std::min<std::int64_t>(std::upper_bound(begin, begin + kept, point) - begin, kept - 1);
  return indices[place].item<std::int64_t>();
}

}  // namespace

LanguageModel::LanguageModel(const config::ModelConfig& config,
                             const std::map<std::string, at::Tensor>& weights)
    : model_(config, model::units(config), all_units(model::units(config))) {
  const auto chain = model::units(config);
  const auto layout = model::layout(chain, all_units(chain), config.tied);
  flat_ = at::zeros({layout.weight_count});
  fill(flat_, layout, weights);
  tensors_ = model::weight_views(layout, flat_);
}

at::Tensor LanguageModel::logits(const at::Tensor& tokens) const {
  const at::NoGradGuard no_gradients;
  const model::MicroBatch batch{
      .inputs = tokens.reshape({-1}), .targets = {}, .sequences = tokens.size(0)};
  return model_.forward({}, batch, tensors_, nullptr).view({tokens.size(0), tokens.size(1), -1});
}

std::vector<std::uint32_t> sample(const LanguageModel& model, std::int64_t seq,
                                  std::vector<std::uint32_t> prompt, std::uint32_t stop,
                                  const Sampling& sampling) {
  const std::size_t given = prompt.size();
  while (static_cast<std::int64_t>(prompt.size() - given) < sampling.tokens) {
    const auto seen = std::min(prompt.size(), static_cast<std::size_t>(seq));
    const std::vector<std::int64_t> context(prompt.end() - static_cast<std::ptrdiff_t>(seen),
                                            prompt.end());
    const auto logits = model.logits(at::tensor(context, at::kLong).view({1, -1}));
    const auto token = static_cast<std::uint32_t>(
        draw(logits[0][static_cast<std::int64_t>(seen) - 1], sampling, prompt.size() - given));
    if (token == stop) break;
    prompt.push_back(token);
  }
  return prompt;
}

}  // namespace penstock::train
