#pragma once
// A configuration as text: to save, to show, to explain.

#include <string>

#include "config/config.h"

namespace penstock::config {

/// Every key of `config` as TOML, reals in full precision: load() gives an equal Config back.
std::string to_toml(const Config& config);

/// Every key, section by section, in aligned columns; '*' marks a value that differs from its
/// default (the preset's value in a model with a preset), which follows it.
std::string table(const Config& config, const Catalogue& catalogue);

/// Help on every section and key: type, default, range and meaning, with the options of every
/// optimizer and correction, the schedules and the presets.
std::string describe_options(const Catalogue& catalogue);

}  // namespace penstock::config
