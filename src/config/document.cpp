#include "config/document.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <sstream>

#include "base/error.h"

namespace penstock::config {
namespace {

/// The elements of `array` where all of them are a T.
template <class T>
std::optional<Value> list_of(const toml::array& array) {
  std::vector<T> items;
  for (const toml::node& node : array) {
    const auto item = node.value_exact<T>();
    if (!item) return std::nullopt;
    items.push_back(*item);
  }
  return Value(std::move(items));
}

std::optional<Value> value_of(const toml::node& node) {
  if (const auto flag = node.value_exact<bool>()) return Value(*flag);
  if (const auto integer = node.value_exact<std::int64_t>()) return Value(*integer);
  if (const auto real = node.value_exact<double>()) return Value(*real);
  if (const auto text = node.value_exact<std::string>()) return Value(*text);
  const toml::array* array = node.as_array();
  if (array == nullptr) return std::nullopt;
  if (auto texts = list_of<std::string>(*array)) return texts;
  return list_of<std::int64_t>(*array);
}

std::string text_of(const toml::node& node) {
  std::ostringstream text;
  node.visit([&text](const auto& typed) { text << typed; });
  return text.str();
}

std::string place_of(const toml::node& node, std::string_view source_name) {
  return fmt::format("{}:{}", source_name, node.source().begin.line);
}

/// The tables that `node` called `name` stands for, by the names of their sections; none where it
/// is a value.
std::vector<std::pair<std::string, const toml::table*>> tables_of(const std::string& name,
                                                                  const toml::node& node) {
  if (const toml::table* table = node.as_table()) return {{name, table}};
  if (name != list_section || !node.is_array_of_tables()) return {};
  std::vector<std::pair<std::string, const toml::table*>> tables;
  for (const toml::node& item : *node.as_array()) {
    tables.emplace_back(fmt::format("{}.{}", name, tables.size()), item.as_table());
  }
  return tables;
}

void flatten(const toml::table& table, const std::string& section, std::string_view source_name,
             Document& document) {
  for (const auto& [toml_key, node] : table) {
    const std::string key(toml_key.str());
    const auto tables = tables_of(section.empty() ? key : section + "." + key, node);
    for (const auto& [name, inner] : tables) {
      document.sections.push_back({name, place_of(*inner, source_name)});
      flatten(*inner, name, source_name, document);
    }
    if (!tables.empty()) continue;
    Setting setting;
    setting.section = section;
    setting.key = key;
    setting.place = place_of(node, source_name);
    setting.value = value_of(node);
    setting.shown = setting.value ? to_toml(*setting.value) : text_of(node);
    document.settings.push_back(std::move(setting));
  }
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// `text` read as one TOML value; nothing where it is none.
std::optional<Value> read_value(std::string_view text) {
  try {
    const toml::table table = toml::parse("value = " + std::string(text));
    const toml::node* node = table.get("value");
    return table.size() == 1 ? value_of(*node) : std::nullopt;
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

bool takes_bare_text(const OptionSpec& spec, std::string_view text) {
  const bool written_as_toml =
      !text.empty() && (text.front() == '"' || text.front() == '\'' || text.front() == '[');
  switch (spec.type) {
    case OptionType::text:
    case OptionType::choice:
      return !written_as_toml || text.front() == '[';
    case OptionType::text_list:
      return !written_as_toml;
    case OptionType::integer_list:
      return text == spec.empty_word;
    default:
      return false;
  }
}

}  // namespace

Value Setting::value_for(const OptionSpec& spec) const {
  if (!is_override) {
    if (!value) spec.refuse(shown, name(), place);
    return spec.checked(*value, name(), place);
  }
  // Going through the quoted form checks that the text is UTF-8.
  const std::string literal = takes_bare_text(spec, shown) ? quoted(shown) : shown;
  const std::optional<Value> read = read_value(literal);
  if (!read) spec.refuse(shown, name(), place);
  return spec.checked(*read, name(), place);
}

Document read_document(std::string_view toml, std::string_view source_name) {
  Document document;
  try {
    flatten(toml::parse(toml, source_name), "", source_name, document);
  } catch (const toml::parse_error& error) {
    throw user_error("config", "{}:{} is not valid TOML: {}", source_name,
                     error.source().begin.line, error.description());
  }
  return document;
}

Setting read_override(std::string_view text) {
  const auto equals = text.find('=');
  const std::string path(trimmed(text.substr(0, equals)));
  if (equals == std::string_view::npos || path.empty()) {
    throw user_error("config", "--set '{}' is not an assignment; write --set section.key=value",
                     text);
  }
  const auto dot = path.rfind('.');
  Setting setting;
  setting.section = dot == std::string::npos ? "" : path.substr(0, dot);
  setting.key = dot == std::string::npos ? path : path.substr(dot + 1);
  setting.place = "--set";
  setting.shown = trimmed(text.substr(equals + 1));
  setting.is_override = true;
  return setting;
}

}  // namespace penstock::config
