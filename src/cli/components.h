#pragma once
// Optimizers and corrections as texts: for the command `optimizers` and for docs/optimizers.md.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/catalogue.h"

namespace penstock::cli {

/// State for a weight of this shape, with the default options.
struct StateSize {
  std::vector<std::int64_t> shape;
  double bytes_per_parameter = 0;
};

struct Component {
  config::ComponentSpec spec;
  std::vector<StateSize> states;
};

struct Components {
  std::vector<Component> optimizers;
  std::vector<Component> corrections;
};

/// All there are. The state is asked for with matrices of several shapes and, where it is taken, a
/// vector.
Components registered_components();

/// The component called `name` alone. Errors: UserError with the names there are.
Components only(const Components& all, const std::string& name);

/// What each is, with options, ranges, state and source.
std::string to_text(const Components& components);
/// The same as a part of a Markdown document.
std::string to_markdown(const Components& components);
nlohmann::ordered_json to_json(const Components& components);

}  // namespace penstock::cli
