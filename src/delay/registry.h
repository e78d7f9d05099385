#pragma once
// The corrections by name.

#include <functional>
#include <vector>

#include "config/catalogue.h"
#include "config/config.h"
#include "delay/correction.h"

namespace penstock::delay {

/// A correction as the configuration sees it and how to make one. A new correction is one file that
/// returns one of these, and a line in registry().
struct Entry {
  config::ComponentSpec spec;
  std::function<CorrectionPtr(const config::ComponentConfig&)> make;
};

/// The first is the default.
std::vector<Entry> registry();

/// Errors: std::logic_error for a name the configuration should have refused.
CorrectionPtr make(const config::ComponentConfig& component);

// The corrections, one file each.
Entry none();
Entry error_feedback();
Entry weight_prediction();
Entry dc_asgd();
Entry staleness_lr();
Entry pipemare();

}  // namespace penstock::delay
