#pragma once
// The optimizers by name.

#include <functional>
#include <vector>

#include "config/catalogue.h"
#include "config/config.h"
#include "optim/optimizer.h"

namespace penstock::optim {

/// An optimizer as the configuration sees it and how to make one. A new optimizer is one file that
/// returns one of these, and a line in registry().
struct Entry {
  config::ComponentSpec spec;
  std::function<OptimizerPtr(const config::ComponentConfig&)> make;
};

/// The first takes every parameter and is the default.
std::vector<Entry> registry();

/// Errors: std::logic_error for a name the configuration should have refused.
OptimizerPtr make(const config::ComponentConfig& component);

// The optimizers, one file each.
Entry adamw();
Entry muon();
Entry sgd();
Entry signum();
Entry nadamw();
Entry lion();
Entry adan();
Entry mars();
Entry normuon();
Entry soap();
Entry scion();
Entry basis_rotation();

}  // namespace penstock::optim
