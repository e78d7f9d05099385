#pragma once
// How much memory optimizers and correction keep for each parameter.

#include <functional>

#include "config/config.h"
#include "model/units.h"

namespace penstock::train {

/// Bytes of both for a parameter of this configuration's model, as it is routed. The function
/// outlives the configuration. Errors: the UserErrors of optim::route().
std::function<double(const model::Parameter&)> update_state(const config::Config& config);

}  // namespace penstock::train
