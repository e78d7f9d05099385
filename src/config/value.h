#pragma once
// The values an option can take, before they become a typed struct.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace penstock::config {

using TextList = std::vector<std::string>;
using IntegerList = std::vector<std::int64_t>;

/// One value of a configuration. Texts are UTF-8.
using Value = std::variant<bool, std::int64_t, double, std::string, TextList, IntegerList>;

/// `value` as a TOML literal that reads back as exactly the same value: reals in the fewest digits
/// that round-trip and always recognisable as reals ("1.0", "1e-08"), texts quoted.
std::string to_toml(const Value& value);

/// `text` as a TOML basic string, with quotes and escapes.
std::string quoted(std::string_view text);

/// `words` in one text for a message, an empty one as "".
std::string joined(const TextList& words, std::string_view separator);

}  // namespace penstock::config
