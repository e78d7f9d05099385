#include "config/option.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

#include "base/error.h"
#include "base/suggest.h"

namespace penstock::config {
namespace {

std::string number_text(double value) { return fmt::format("{}", value); }

std::string type_text(OptionType type) {
  switch (type) {
    case OptionType::flag:
      return "true or false";
    case OptionType::integer:
      return "whole number";
    case OptionType::real:
      return "number";
    case OptionType::text:
      return "text";
    case OptionType::choice:
      return "choice";
    case OptionType::text_list:
      return "text or list of texts";
    case OptionType::integer_list:
      return "list of whole numbers";
  }
  throw std::logic_error("an option's type is none of OptionType");
}

std::string choices_text(const OptionSpec& spec, std::string_view separator,
                         std::string_view before_file) {
  const std::string names = joined(spec.choices, separator);
  return spec.file_suffix.empty() ? names
                                  : fmt::format("{}{}FILE{}", names, before_file, spec.file_suffix);
}

std::string and_range(std::string_view what, const Range& range) {
  const std::string text = range.text();
  return text.empty() ? std::string(what) : fmt::format("{} {}", what, text);
}

/// What a value of the right kind looks like, for "is not ...; give ...".
std::string wanted(const OptionSpec& spec) {
  switch (spec.type) {
    case OptionType::flag:
      return "true or false";
    case OptionType::integer:
      return and_range("a whole number", spec.range);
    case OptionType::real:
      return and_range("a number", spec.range);
    case OptionType::text:
      return "a text in quotes";
    case OptionType::choice:
      return "one of " + choices_text(spec, ", ", " or ");
    case OptionType::text_list:
      return "a text in quotes or a list of them";
    case OptionType::integer_list:
      return fmt::format("\"{}\" or a list of {}", spec.empty_word,
                         and_range("whole numbers", spec.range));
  }
  throw std::logic_error("an option's type is none of OptionType");
}

std::string kind(OptionType type) {
  switch (type) {
    case OptionType::flag:
      return "true or false";
    case OptionType::integer:
      return "a whole number";
    case OptionType::real:
      return "a number";
    case OptionType::text:
    case OptionType::choice:
      return "a text";
    case OptionType::text_list:
      return "a text or a list of texts";
    case OptionType::integer_list:
      return "a list of whole numbers";
  }
  throw std::logic_error("an option's type is none of OptionType");
}

/// Checks one value; holds what every message needs.
class Checker {
 public:
  Checker(const OptionSpec& spec, const Value& value, std::string_view name, std::string_view place)
      : spec_(spec), value_(value), name_(name), place_(place) {}

  Value result() const {
    switch (spec_.type) {
      case OptionType::flag:
        return as_is<bool>();
      case OptionType::integer:
        return integer();
      case OptionType::real:
        return real();
      case OptionType::text:
        return as_is<std::string>();
      case OptionType::choice:
        return choice();
      case OptionType::text_list:
        return text_list();
      case OptionType::integer_list:
        return integer_list();
    }
    throw std::logic_error("an option's type is none of OptionType");
  }

 private:
  [[noreturn]] void fail(std::string_view rule, std::string_view remedy) const {
    const std::string place = place_.empty() ? std::string() : fmt::format(" ({})", place_);
    throw user_error("config", "{} = {}{} {}; {}", name_, to_toml(value_), place, rule, remedy);
  }
  [[noreturn]] void fail_type() const { spec_.refuse(to_toml(value_), name_, place_); }
  [[noreturn]] void fail_range() const { fail("is out of range", "give " + wanted(spec_)); }

  template <class T>
  T as_is() const {
    if (const T* value = std::get_if<T>(&value_)) return *value;
    fail_type();
  }

  std::int64_t integer() const {
    if (const double* real = std::get_if<double>(&value_)) suggest_digits(*real);
    const auto number = as_is<std::int64_t>();
    if (!spec_.range.contains(static_cast<double>(number))) fail_range();
    return number;
  }

  /// 1e6 is a real in TOML; tell how to write it.
  void suggest_digits(double real) const {
    constexpr double exact_integers = 9007199254740992.0;  // 2^53
    if (real == std::floor(real) && std::abs(real) <= exact_integers) {
      fail("is not a whole number", fmt::format("write it as {:.0f}", real));
    }
  }

  double real() const {
    const auto* whole = std::get_if<std::int64_t>(&value_);
    const double number = whole ? static_cast<double>(*whole) : as_is<double>();
    if (!std::isfinite(number)) fail("is not finite", "give " + wanted(spec_));
    if (!spec_.range.contains(number)) fail_range();
    return number;
  }

  std::string choice() const {
    auto text = as_is<std::string>();
    for (const std::string& allowed : spec_.choices) {
      if (allowed == text) return text;
    }
    if (!spec_.file_suffix.empty() && text.ends_with(spec_.file_suffix)) return text;
    const std::string near = suggest(text, spec_.choices);
    fail("is none of " + choices_text(spec_, ", ", ", "),
         near.empty() ? "give one of them" : fmt::format("did you mean '{}'?", near));
  }

  TextList text_list() const {
    if (const auto* text = std::get_if<std::string>(&value_)) return {*text};
    // An empty list has no type of its own.
    if (const auto* none = std::get_if<IntegerList>(&value_); none && none->empty()) return {};
    return as_is<TextList>();
  }

  Value integer_list() const {
    if (const auto* text = std::get_if<std::string>(&value_); text && *text == spec_.empty_word) {
      return *text;
    }
    if (const auto* none = std::get_if<TextList>(&value_); none && none->empty()) fail_range();
    auto list = as_is<IntegerList>();
    if (list.empty()) fail_range();
    for (const std::int64_t number : list) {
      if (!spec_.range.contains(static_cast<double>(number))) fail_range();
    }
    return list;
  }

  const OptionSpec& spec_;
  const Value& value_;
  std::string_view name_;
  std::string_view place_;
};

}  // namespace

bool Range::contains(double x) const {
  if (!std::isfinite(x)) return false;
  if (minimum_ && (minimum_open_ ? x <= *minimum_ : x < *minimum_)) return false;
  return !maximum_ || (maximum_open_ ? x < *maximum_ : x <= *maximum_);
}

std::string Range::text() const {
  if (minimum_ && maximum_) {
    return fmt::format("in {}{}, {}{}", minimum_open_ ? "(" : "[", number_text(*minimum_),
                       number_text(*maximum_), maximum_open_ ? ")" : "]");
  }
  if (minimum_) return fmt::format("{} {}", minimum_open_ ? ">" : ">=", number_text(*minimum_));
  return {};
}

Value OptionSpec::checked(const Value& value, std::string_view name, std::string_view place) const {
  return Checker(*this, value, name, place).result();
}

void OptionSpec::refuse(std::string_view shown, std::string_view name,
                        std::string_view place) const {
  const std::string in = place.empty() ? std::string() : fmt::format(" ({})", place);
  throw user_error("config", "{} = {}{} is not {}; give {}", name, shown, in, kind(type),
                   wanted(*this));
}

OptionInfo OptionSpec::info() const {
  return {key, type_text(type), default_value ? to_toml(*default_value) : default_words,
          type == OptionType::choice ? choices_text(*this, " | ", " | ") : range.text(), help};
}

OptionSpec declare(OptionType type, std::string key, std::string help, Range range) {
  OptionSpec spec;
  spec.key = std::move(key);
  spec.type = type;
  spec.range = range;
  spec.help = std::move(help);
  return spec;
}

void check_declaration(const OptionSpec& spec, bool key_is_taken) {
  if (spec.key.empty()) throw std::logic_error("an option has no key");
  if (key_is_taken) throw std::logic_error("option '" + spec.key + "' is declared twice");
  if (!spec.default_value) return;
  try {
    (void)spec.checked(*spec.default_value, spec.key);
  } catch (const UserError& error) {
    throw std::logic_error(std::string("an option's default breaks its own rule: ") + error.what());
  }
}

void refuse_key(std::string_view key, const std::vector<OptionSpec>& specs,
                std::string_view prefix) {
  std::vector<std::string> keys;
  for (const OptionSpec& spec : specs) keys.push_back(spec.key);
  const std::string near = suggest(key, keys);
  throw user_error("config", "unknown key '{}{}'; {}", prefix, key,
                   near.empty() ? "the keys here are " + joined(keys, ", ")
                                : fmt::format("did you mean '{}{}'?", prefix, near));
}

}  // namespace penstock::config
