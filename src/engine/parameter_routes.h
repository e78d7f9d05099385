#pragma once
// The model's parameters as optim/routing.h sees them.

#include <vector>

#include "config/config.h"
#include "optim/routing.h"

namespace penstock::engine {

/// All parameters in the order of their numbers (model::Layout); a tied weight once, under the
/// embedding's name.
std::vector<optim::ParameterInfo> parameter_infos(const config::ModelConfig& model);

/// Their routes. Errors: the UserErrors of optim::route().
std::vector<optim::Route> parameter_routes(const config::Config& config);

}  // namespace penstock::engine
