#include "train/update_state.h"

#include <map>
#include <string>

#include "delay/registry.h"
#include "engine/parameter_routes.h"
#include "optim/state_size.h"

namespace penstock::train {

std::function<double(const model::Parameter&)> update_state(const config::Config& config) {
  const auto parameters = engine::parameter_infos(config.model);
  const auto states = optim::state_of(config, parameters, engine::parameter_routes(config));
  const auto correction = delay::make(config.correction);
  const auto init = [&](const at::Tensor& weight) { return correction->init(weight); };
  std::map<std::string, double> bytes;
  for (const auto& state : states) {
    bytes[state.name] = static_cast<double>(state.bytes + optim::state_bytes(init, state.shape));
  }
  // A tied head is the embedding once more.
  if (config.model.tied) {
    bytes[std::string(model::head_name)] = bytes.at(std::string(model::embedding_name));
  }
  return [bytes = std::move(bytes)](const model::Parameter& parameter) {
    return bytes.at(parameter.name);
  };
}

}  // namespace penstock::train
