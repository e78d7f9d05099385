#pragma once
// TOML text and overrides as a flat list of settings with their places. The only file that knows
// the TOML library.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/option.h"

namespace penstock::config {

/// An array of tables of this name makes one section of each table: optimizer.group.0, ...
inline constexpr std::string_view list_section = "optimizer.group";

/// One "key = value" of a file, or one override.
struct Setting {
  std::string section;  ///< "optimizer.fallback"; empty for a key outside every section.
  std::string key;
  std::string place;           ///< "run.toml:7" or "--set".
  std::optional<Value> value;  ///< None: of a kind that no option has, such as a date.
  std::string shown;           ///< The value as messages show it.
  bool is_override = false;    ///< Then `shown` is the text behind '='.

  std::string name() const { return section.empty() ? key : section + "." + key; }
  /// The value in the type of `spec`. An override for a text needs no quotes. Errors: as
  /// OptionSpec::checked.
  Value value_for(const OptionSpec& spec) const;
};

struct SectionHeader {
  std::string name;
  std::string place;
};

struct Document {
  std::vector<SectionHeader> sections;
  std::vector<Setting> settings;  ///< In the order of the sections' and keys' names.
};

/// Errors: UserError with file and line for text that is not TOML, which includes equal keys.
Document read_document(std::string_view toml, std::string_view source_name);

/// "section.key=value". Errors: UserError.
Setting read_override(std::string_view text);

}  // namespace penstock::config
