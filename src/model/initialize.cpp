#include "model/initialize.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "base/random.h"
#include "model/views.h"

namespace penstock::model {
namespace {

constexpr double deviation = 0.02;

bool writes_residual(const Parameter& parameter) {
  return parameter.name.ends_with("o_proj.weight") || parameter.name.ends_with("down_proj.weight");
}

void fill_normal(at::Tensor weight, std::uint64_t key, double scale) {
  auto* values = weight.mutable_data_ptr<float>();
  at::parallel_for(0, weight.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      values[i] = static_cast<float>(scale * random_normal(key, static_cast<std::uint64_t>(i)));
    }
  });
}

}  // namespace

void initialize_weights(const Layout& layout, const config::ModelConfig& model, std::uint64_t seed,
                        at::Tensor flat) {
  if (!flat.is_cpu()) {
    at::Tensor on_cpu = flat.to(at::kCPU);
    initialize_weights(layout, model, seed, on_cpu);
    flat.copy_(on_cpu);
    return;
  }
  const double residual_scale = deviation / std::sqrt(2.0 * static_cast<double>(model.layers));
  for (const auto& placed : layout.parameters) {
    if (!placed.updated) continue;
    const Parameter& parameter = placed.spec;
    at::Tensor weight = weight_view(placed, flat);
    if (parameter.kind == ParameterKind::gain) {
      weight.fill_(1);
      continue;
    }
    const bool tied_head = model.tied && parameter.kind == ParameterKind::head;
    const std::string_view name = tied_head ? embedding_name : std::string_view(parameter.name);
    fill_normal(weight, random_key(seed, name),
                writes_residual(parameter) ? residual_scale : deviation);
  }
}

}  // namespace penstock::model
