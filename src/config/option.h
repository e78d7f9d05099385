#pragma once
// One declaration per option: it yields default, parsing, range check, help and printed table.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/value.h"

namespace penstock::config {

/// The numbers an option accepts. NaN and infinities are never in a range.
class Range {
 public:
  static Range any() { return {}; }
  static Range at_least(double minimum) { return Range(minimum, false, {}, false); }
  static Range above(double minimum) { return Range(minimum, true, {}, false); }
  static Range between(double minimum, double maximum) {
    return Range(minimum, false, maximum, false);
  }
  /// minimum <= x < maximum.
  static Range below(double minimum, double maximum) {
    return Range(minimum, false, maximum, true);
  }
  /// minimum < x < maximum.
  static Range inside(double minimum, double maximum) {
    return Range(minimum, true, maximum, true);
  }
  /// minimum < x <= maximum.
  static Range above_up_to(double minimum, double maximum) {
    return Range(minimum, true, maximum, false);
  }

  bool contains(double x) const;
  /// ">= 0", "> 0", "in [0, 1)"; empty for any().
  std::string text() const;

 private:
  Range() = default;
  Range(std::optional<double> minimum, bool minimum_open, std::optional<double> maximum,
        bool maximum_open)
      : minimum_(minimum),
        maximum_(maximum),
        minimum_open_(minimum_open),
        maximum_open_(maximum_open) {}

  std::optional<double> minimum_;
  std::optional<double> maximum_;
  bool minimum_open_ = false;
  bool maximum_open_ = false;
};

enum class OptionType { flag, integer, real, text, choice, text_list, integer_list };

/// What help and tables show of an option.
struct OptionInfo {
  std::string key;
  std::string type;          ///< "true or false", "whole number", "number", "text", ...
  std::string default_text;  ///< As TOML; words such as "unset" where there is no value.
  std::string range_text;    ///< ">= 0", or the list of choices; may be empty.
  std::string help;
};

/// An option without the struct it lives in: enough to check a value, to print help and to fill in
/// the default.
struct OptionSpec {
  std::string key;
  OptionType type = OptionType::text;
  std::optional<Value> default_value;  ///< None: unset unless given or derived.
  std::string default_words;           ///< What help shows where there is no default value.
  Range range = Range::any();          ///< Of a number, or of each element of a list of numbers.
  std::vector<std::string> choices;    ///< Of a choice.
  std::string file_suffix;  ///< A choice also takes paths that end with this, unless empty.
  std::string empty_word;   ///< The text that stands for an empty list of numbers.
  std::string help;

  /// `value` in the option's own type: a whole number becomes a real where a real is expected, a
  /// single text becomes a list of one. Errors: a UserError
  ///   [config] <name> = <value> (<place>) is not a number; give a number >= 0
  /// where `name` is the option's full name ("train.clip") and `place` says where the value was
  /// read ("run.toml:7", "--set"; may be empty).
  Value checked(const Value& value, std::string_view name, std::string_view place = {}) const;

  /// The UserError that `checked` throws for a value of another kind, for values that have no
  /// Value (dates, mixed lists); `shown` is printed as the value.
  [[noreturn]] void refuse(std::string_view shown, std::string_view name,
                           std::string_view place = {}) const;

  OptionInfo info() const;
};

/// The options of one section, each bound to a member of the struct `Section`:
///
///   OptionTable<TrainConfig> table;
///   table.real("clip", &TrainConfig::clip, 1.0, Range::at_least(0), "global gradient-norm limit")
///       .flag(...);
///
/// Errors: std::logic_error where a key is declared twice or a default breaks its own rule (a
/// mistake of ours); UserError for values.
/// Threads: immutable after construction, so any number of readers.
template <class Section>
class OptionTable {
 public:
  OptionTable& flag(std::string key, bool Section::*member, bool default_value, std::string help);
  OptionTable& integer(std::string key, std::int64_t Section::*member, std::int64_t default_value,
                       Range range, std::string help);
  /// Without a default: unset unless given.
  OptionTable& integer(std::string key, std::optional<std::int64_t> Section::*member, Range range,
                       std::string help);
  /// Has no value of its own: somebody else fills it in when it is not given, as `default_words`
  /// tell. Keeps the struct's own value until then.
  OptionTable& derived_integer(std::string key, std::int64_t Section::*member,
                               std::string default_words, Range range, std::string help);
  OptionTable& real(std::string key, double Section::*member, double default_value, Range range,
                    std::string help);
  OptionTable& text(std::string key, std::string Section::*member, std::string default_value,
                    std::string help);
  OptionTable& derived_text(std::string key, std::string Section::*member,
                            std::string default_words, std::string help);
  OptionTable& choice(std::string key, std::string Section::*member, std::string default_value,
                      std::vector<std::string> choices, std::string help);
  /// A choice that also takes the path of a file whose name ends with `file_suffix`.
  OptionTable& choice_or_file(std::string key, std::string Section::*member,
                              std::string default_value, std::vector<std::string> choices,
                              std::string file_suffix, std::string help);
  /// A choice that becomes an enumeration: {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}}.
  template <class Enum, class = std::enable_if_t<std::is_enum_v<Enum>>>
  OptionTable& choice(std::string key, Enum Section::*member,
                      std::type_identity_t<Enum> default_value,
                      std::vector<std::pair<std::string, std::type_identity_t<Enum>>> choices,
                      std::string help);
  /// One text or a list of texts; empty by default.
  OptionTable& text_list(std::string key, TextList Section::*member, std::string help);
  /// A list of whole numbers, or `empty_word`, which is the default and gives an empty list.
  OptionTable& integer_list(std::string key, IntegerList Section::*member, std::string empty_word,
                            Range range, std::string help);

  /// A section with every default filled in.
  Section defaults() const;
  /// Checks `value` and stores it. Errors: UserError (unknown key, wrong type, out of range), which
  /// calls the option `prefix` + key.
  void set(Section& section, std::string_view key, const Value& value,
           std::string_view prefix = {}) const;
  /// The value in `section`; nothing where it is unset. An unknown key is a UserError.
  std::optional<Value> get(const Section& section, std::string_view key) const;
  /// Defaults, overridden by `options`; same errors as set().
  Section read(const std::map<std::string, Value>& options, std::string_view prefix = {}) const;

  std::vector<OptionSpec> specs() const;
  std::vector<OptionInfo> infos() const;

 private:
  struct Entry {
    OptionSpec spec;
    std::function<void(Section&, const Value&)> assign;
    std::function<std::optional<Value>(const Section&)> fetch;
  };

  template <class T>
  OptionTable& bind(OptionSpec spec, T Section::*member);
  OptionTable& add(Entry entry);
  const Entry& find(std::string_view key, std::string_view prefix) const;

  std::vector<Entry> entries_;
};

/// Throws the UserError for a key that is not in `specs`.
[[noreturn]] void refuse_key(std::string_view key, const std::vector<OptionSpec>& specs,
                             std::string_view prefix);
/// An OptionSpec without a default.
OptionSpec declare(OptionType type, std::string key, std::string help, Range range = Range::any());
/// Throws std::logic_error where `spec` cannot join `specs`.
void check_declaration(const OptionSpec& spec, bool key_is_taken);

// ---- implementation ----

template <class Section>
OptionTable<Section>& OptionTable<Section>::add(Entry entry) {
  bool taken = false;
  for (const Entry& other : entries_) taken = taken || other.spec.key == entry.spec.key;
  check_declaration(entry.spec, taken);
  entries_.push_back(std::move(entry));
  return *this;
}

template <class Section>
template <class T>
OptionTable<Section>& OptionTable<Section>::bind(OptionSpec spec, T Section::*member) {
  return add(
      {std::move(spec),
       [member](Section& section, const Value& value) { section.*member = std::get<T>(value); },
       [member](const Section& section) -> std::optional<Value> {
         return Value(section.*member);
       }});
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::flag(std::string key, bool Section::*member,
                                                 bool default_value, std::string help) {
  OptionSpec spec = declare(OptionType::flag, std::move(key), std::move(help));
  spec.default_value = default_value;
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::integer(std::string key, std::int64_t Section::*member,
                                                    std::int64_t default_value, Range range,
                                                    std::string help) {
  OptionSpec spec = declare(OptionType::integer, std::move(key), std::move(help), range);
  spec.default_value = default_value;
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::integer(std::string key,
                                                    std::optional<std::int64_t> Section::*member,
                                                    Range range, std::string help) {
  OptionSpec spec = declare(OptionType::integer, std::move(key), std::move(help), range);
  spec.default_words = "unset";
  return add({std::move(spec),
              [member](Section& section, const Value& value) {
                section.*member = std::get<std::int64_t>(value);
              },
              [member](const Section& section) -> std::optional<Value> {
                const std::optional<std::int64_t>& number = section.*member;
                return number ? std::optional<Value>(*number) : std::nullopt;
              }});
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::derived_integer(std::string key,
                                                            std::int64_t Section::*member,
                                                            std::string default_words, Range range,
                                                            std::string help) {
  OptionSpec spec = declare(OptionType::integer, std::move(key), std::move(help), range);
  spec.default_words = std::move(default_words);
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::real(std::string key, double Section::*member,
                                                 double default_value, Range range,
                                                 std::string help) {
  OptionSpec spec = declare(OptionType::real, std::move(key), std::move(help), range);
  spec.default_value = default_value;
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::text(std::string key, std::string Section::*member,
                                                 std::string default_value, std::string help) {
  OptionSpec spec = declare(OptionType::text, std::move(key), std::move(help));
  spec.default_value = std::move(default_value);
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::derived_text(std::string key,
                                                         std::string Section::*member,
                                                         std::string default_words,
                                                         std::string help) {
  OptionSpec spec = declare(OptionType::text, std::move(key), std::move(help));
  spec.default_words = std::move(default_words);
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::choice(std::string key, std::string Section::*member,
                                                   std::string default_value,
                                                   std::vector<std::string> choices,
                                                   std::string help) {
  OptionSpec spec = declare(OptionType::choice, std::move(key), std::move(help));
  spec.default_value = std::move(default_value);
  spec.choices = std::move(choices);
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::choice_or_file(
    std::string key, std::string Section::*member, std::string default_value,
    std::vector<std::string> choices, std::string file_suffix, std::string help) {
  OptionSpec spec = declare(OptionType::choice, std::move(key), std::move(help));
  spec.default_value = std::move(default_value);
  spec.choices = std::move(choices);
  spec.file_suffix = std::move(file_suffix);
  return bind(std::move(spec), member);
}

template <class Section>
template <class Enum, class>
OptionTable<Section>& OptionTable<Section>::choice(
    std::string key, Enum Section::*member, std::type_identity_t<Enum> default_value,
    std::vector<std::pair<std::string, std::type_identity_t<Enum>>> choices, std::string help) {
  OptionSpec spec = declare(OptionType::choice, std::move(key), std::move(help));
  for (const auto& [name, value] : choices) {
    spec.choices.push_back(name);
    if (value == default_value) spec.default_value = name;
  }
  return add({std::move(spec),
              [member, choices](Section& section, const Value& given) {
                for (const auto& [name, value] : choices) {
                  if (name == std::get<std::string>(given)) section.*member = value;
                }
              },
              [member, choices](const Section& section) -> std::optional<Value> {
                for (const auto& [name, value] : choices) {
                  if (value == section.*member) return Value(name);
                }
                return std::nullopt;
              }});
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::text_list(std::string key, TextList Section::*member,
                                                      std::string help) {
  OptionSpec spec = declare(OptionType::text_list, std::move(key), std::move(help));
  spec.default_value = TextList{};
  return bind(std::move(spec), member);
}

template <class Section>
OptionTable<Section>& OptionTable<Section>::integer_list(std::string key,
                                                         IntegerList Section::*member,
                                                         std::string empty_word, Range range,
                                                         std::string help) {
  OptionSpec spec = declare(OptionType::integer_list, std::move(key), std::move(help), range);
  spec.default_value = empty_word;
  spec.empty_word = empty_word;
  return add({std::move(spec),
              [member](Section& section, const Value& value) {
                const auto* list = std::get_if<IntegerList>(&value);
                section.*member = list ? *list : IntegerList{};
              },
              [member, empty_word](const Section& section) -> std::optional<Value> {
                const IntegerList& list = section.*member;
                return list.empty() ? Value(empty_word) : Value(list);
              }});
}

template <class Section>
const typename OptionTable<Section>::Entry& OptionTable<Section>::find(
    std::string_view key, std::string_view prefix) const {
  for (const Entry& entry : entries_) {
    if (entry.spec.key == key) return entry;
  }
  refuse_key(key, specs(), prefix);
}

template <class Section>
Section OptionTable<Section>::defaults() const {
  Section section{};
  for (const Entry& entry : entries_) {
    if (entry.spec.default_value) entry.assign(section, *entry.spec.default_value);
  }
  return section;
}

template <class Section>
void OptionTable<Section>::set(Section& section, std::string_view key, const Value& value,
                               std::string_view prefix) const {
  const Entry& entry = find(key, prefix);
  entry.assign(section, entry.spec.checked(value, std::string(prefix) + std::string(key)));
}

template <class Section>
std::optional<Value> OptionTable<Section>::get(const Section& section, std::string_view key) const {
  return find(key, {}).fetch(section);
}

template <class Section>
Section OptionTable<Section>::read(const std::map<std::string, Value>& options,
                                   std::string_view prefix) const {
  Section section = defaults();
  for (const auto& [key, value] : options) set(section, key, value, prefix);
  return section;
}

template <class Section>
std::vector<OptionSpec> OptionTable<Section>::specs() const {
  std::vector<OptionSpec> all;
  for (const Entry& entry : entries_) all.push_back(entry.spec);
  return all;
}

template <class Section>
std::vector<OptionInfo> OptionTable<Section>::infos() const {
  std::vector<OptionInfo> all;
  for (const Entry& entry : entries_) all.push_back(entry.spec.info());
  return all;
}

}  // namespace penstock::config
