#pragma once
// Whether a run's optimizers can be what the configuration says, found out before anything large is
// done.

#include "config/config.h"

namespace penstock::train {

/// Routes every parameter, and adds up the memory of optimizer states, weights and gradients. On a
/// CPU all of them are to be in this machine's memory, whatever the number of ranks.
/// Errors: the UserErrors of optim::route() and optim::require_state_fits().
void check_optimizers(const config::Config& config);

}  // namespace penstock::train
