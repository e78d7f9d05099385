#include "train/optimizer_check.h"

#include <cstdint>

#include "base/physical_memory.h"
#include "delay/registry.h"
#include "engine/parameter_routes.h"
#include "optim/state_size.h"

namespace penstock::train {
namespace {

/// Bytes of weights, one gradient and the correction's state: less than any schedule needs.
std::int64_t other_bytes(const config::Config& config,
                         const std::vector<optim::ParameterInfo>& parameters) {
  const auto correction = delay::make(config.correction);
  std::int64_t bytes = 0;
  for (const auto& parameter : parameters) {
    bytes += 2 * parameter.count() * static_cast<std::int64_t>(sizeof(float));
    bytes += optim::state_bytes([&](const at::Tensor& weight) { return correction->init(weight); },
                                parameter.shape);
  }
  return bytes;
}

}  // namespace

void check_optimizers(const config::Config& config) {
  const auto routes = engine::parameter_routes(config);
  if (config.train.device != config::DeviceKind::cpu) return;
  const auto parameters = engine::parameter_infos(config.model);
  optim::require_state_fits(optim::state_of(config, parameters, routes),
                            other_bytes(config, parameters), physical_memory());
}

}  // namespace penstock::train
