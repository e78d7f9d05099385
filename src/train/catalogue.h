#pragma once
// Everything that a configuration can name.

#include "config/catalogue.h"

namespace penstock::train {

/// The registered optimizers, corrections and schedules.
config::Catalogue catalogue();

}  // namespace penstock::train
