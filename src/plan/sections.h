#pragma once
// One section of a TOML file, read into a struct through its table of options.

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/suggest.h"
#include "config/document.h"
#include "config/option.h"

namespace penstock::plan {

/// Throws the UserError for a key that [section] does not have.
[[noreturn]] inline void refuse_unknown(const config::Setting& setting,
                                        const std::vector<std::string>& keys) {
  const std::string near = suggest(setting.key, keys);
  throw user_error("config", "unknown key '{}' in {}; {}", setting.name(), setting.place,
                   near.empty()
                       ? fmt::format("[{}] has {}", setting.section, config::joined(keys, ", "))
                       : fmt::format("did you mean '{}.{}'?", setting.section, near));
}

/// Fills `section` with its defaults and then with what `document` says of [name]. Returns the keys
/// that were given. Errors: UserError with file and line.
template <class Section>
std::set<std::string> read_section(const config::Document& document, std::string_view name,
                                   const config::OptionTable<Section>& table, Section& section) {
  const auto specs = table.specs();
  std::vector<std::string> keys;
  for (const auto& spec : specs) keys.push_back(spec.key);
  section = table.defaults();
  std::set<std::string> given;
  for (const auto& setting : document.settings) {
    if (setting.section != name) continue;
    const auto spec = std::ranges::find(specs, setting.key, &config::OptionSpec::key);
    if (spec == specs.end()) refuse_unknown(setting, keys);
    table.set(section, setting.key, setting.value_for(*spec));
    given.insert(setting.key);
  }
  return given;
}

/// Throws a UserError where `document` has a section, or a key outside every section, that is not
/// in `names`.
void check_sections(const config::Document& document, const std::vector<std::string>& names);

/// The text of a file. Errors: UserError that calls it `what`.
std::string read_text(const std::string& path, std::string_view what);

}  // namespace penstock::plan
