#include "engine/parameter_routes.h"

#include "model/units.h"
#include "optim/registry.h"

namespace penstock::engine {

std::vector<optim::ParameterInfo> parameter_infos(const config::ModelConfig& model) {
  std::vector<optim::ParameterInfo> infos;
  for (const auto& unit : model::units(model)) {
    for (const auto& tensor : unit.tensors) {
      for (const auto& parameter : tensor.parameters) {
        if (model.tied && parameter.kind == model::ParameterKind::head) continue;
        infos.push_back({.name = parameter.name,
                         .shape = parameter.shape,
                         .is_block_matrix = parameter.kind == model::ParameterKind::matrix,
                         .is_gain = parameter.kind == model::ParameterKind::gain});
      }
    }
  }
  return infos;
}

std::vector<optim::Route> parameter_routes(const config::Config& config) {
  std::vector<config::ComponentSpec> optimizers;
  for (const auto& entry : optim::registry()) optimizers.push_back(entry.spec);
  return optim::route(config, parameter_infos(config.model), optimizers);
}

}  // namespace penstock::engine
