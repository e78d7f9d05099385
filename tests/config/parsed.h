#pragma once
// Configurations from text, and what is said of those that are refused.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/config.h"
#include "example_catalogue.h"

namespace penstock::config {

using Overrides = std::vector<std::string>;

inline constexpr const char* small = R"([model]
preset = "nano"

[data]
train = "a.txt"

[train]
steps = 100
)";

inline Config parse_small(const Overrides& overrides = {}) {
  return parse(small, "runs/small.toml", overrides, example_catalogue());
}

inline std::string error_of(std::string_view toml, const Overrides& overrides = {}) {
  try {
    (void)parse(toml, "run.toml", overrides, example_catalogue());
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

inline std::string override_error(const std::string& text) { return error_of(small, {text}); }

}  // namespace penstock::config
