#include "config/value.h"

#include <fmt/format.h>

namespace penstock::config {
namespace {

std::string real_text(double value) {
  std::string text = fmt::format("{}", value);
  // Without a mark of a real, TOML would read a whole number; "nan" and "inf" have their own.
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

template <class Items, class Text>
std::string list_text(const Items& items, Text text) {
  std::string all;
  for (const auto& item : items) all += (all.empty() ? "" : ", ") + text(item);
  return "[" + all + "]";
}

struct LiteralWriter {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return real_text(value); }
  std::string operator()(const std::string& value) const { return quoted(value); }
  std::string operator()(const TextList& value) const { return list_text(value, quoted); }
  std::string operator()(const IntegerList& value) const {
    return list_text(value, [](std::int64_t item) { return std::to_string(item); });
  }
};

}  // namespace

std::string quoted(std::string_view text) {
  std::string literal = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      literal += '\\';
      literal += c;
    } else if (c == '\n') {
      literal += "\\n";
    } else if (c == '\t') {
      literal += "\\t";
    } else if (code < 0x20 || code == 0x7f) {
      literal += fmt::format("\\u{:04X}", static_cast<unsigned>(code));
    } else {
      literal += c;
    }
  }
  return literal + "\"";
}

std::string joined(const TextList& words, std::string_view separator) {
  std::string all;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) all += separator;
    all += words[i].empty() ? "\"\"" : words[i];
  }
  return all;
}

std::string to_toml(const Value& value) { return std::visit(LiteralWriter{}, value); }

}  // namespace penstock::config
