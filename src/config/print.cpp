#include "config/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "config/document.h"
#include "config/presets.h"
#include "config/sections.h"

namespace penstock::config {
namespace {

/// Calls `visit` for every section that `config` has.
template <class Visit>
void for_each_section(Config& config, const Catalogue& catalogue, Visit visit) {
  for (const std::string& name : section_names(config)) {
    visit(view_section(name, config, catalogue));
  }
}

struct Row {
  std::string key;
  std::string value;
  std::string default_text;  ///< Empty: the value is the default.
};

std::vector<Row> rows_of(const SectionView& view) {
  std::vector<Row> rows;
  for (const OptionSpec& spec : view.options) {
    const std::optional<Value> value = view.get(spec.key);
    if (!value) continue;
    const bool differs = spec.default_value && *spec.default_value != *value;
    rows.push_back({spec.key, to_toml(*value), differs ? to_toml(*spec.default_value) : ""});
  }
  return rows;
}

std::string padded(const std::string& text, std::size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ');
}

void append_rows(std::string& text, const std::vector<Row>& rows, std::size_t key_width,
                 std::size_t value_width) {
  for (const Row& row : rows) {
    const std::string key = padded(row.key, key_width);
    if (row.default_text.empty()) {
      text += fmt::format("  {}  {}\n", key, row.value);
    } else {
      text += fmt::format("* {}  {}  (default {})\n", key, padded(row.value, value_width),
                          row.default_text);
    }
  }
}

void append_options(std::string& text, const std::vector<OptionSpec>& options,
                    std::string_view indent) {
  for (const OptionSpec& spec : options) {
    const OptionInfo info = spec.info();
    const std::string kind = spec.type == OptionType::choice ? info.range_text
                             : info.range_text.empty()       ? info.type
                                                             : info.type + " " + info.range_text;
    text += fmt::format("{}{} = {}    ({})\n{}    {}\n", indent, info.key, info.default_text, kind,
                        indent, info.help);
  }
}

void append_components(std::string& text, const std::vector<ComponentSpec>& components) {
  for (const ComponentSpec& component : components) {
    text += fmt::format("  {}: {}{}\n", component.name, component.summary,
                        component.source.empty() ? "" : " [" + component.source + "]");
    append_options(text, component.options, "    ");
  }
}

std::string preset_text(const ModelConfig& preset) {
  return fmt::format("layers {}, width {}, heads {}, kv_heads {}, ff {}, vocab {}, seq {}, tied {}",
                     preset.layers, preset.width, preset.heads, preset.kv_heads, preset.ff,
                     preset.vocab, preset.seq, preset.tied);
}

/// As TOML has it.
std::string heading(const std::string& section) {
  return group_number(section) ? fmt::format("[[{}]]", list_section) : fmt::format("[{}]", section);
}

OptionSpec name_only(const SectionView& view) { return *view.find("name"); }

}  // namespace

std::string to_toml(const Config& config) {
  Config copy = config;  // Views are for writing too.
  std::string text;
  for_each_section(copy, Catalogue{}, [&text](const SectionView& view) {
    text += fmt::format("{}{}\n", text.empty() ? "" : "\n", heading(view.name));
    for (const Row& row : rows_of(view)) text += fmt::format("{} = {}\n", row.key, row.value);
  });
  return text;
}

std::string table(const Config& config, const Catalogue& catalogue) {
  Config copy = config;
  std::vector<std::pair<std::string, std::vector<Row>>> sections;
  std::size_t key_width = 0;
  std::size_t value_width = 0;
  for_each_section(copy, catalogue, [&](const SectionView& view) {
    sections.emplace_back(view.name, rows_of(view));
    for (const Row& row : sections.back().second) {
      key_width = std::max(key_width, row.key.size());
      if (!row.default_text.empty()) value_width = std::max(value_width, row.value.size());
    }
  });
  std::string text;
  for (const auto& [name, rows] : sections) {
    text += fmt::format("[{}]\n", name);
    append_rows(text, rows, key_width, value_width);
  }
  return text;
}

std::string describe_options(const Catalogue& catalogue) {
  Config config;
  config.fallback.emplace();
  config.groups.emplace_back();
  const auto section = [&](std::string_view name) { return view_section(name, config, catalogue); };
  std::string text = "[model]  shape of the decoder\n";
  append_options(text, section("model").options, "  ");
  text += "  presets\n";
  for (const ModelConfig& preset : presets()) {
    text += fmt::format("    {}: {}\n", preset.preset, preset_text(preset));
  }
  text += "\n[data]  text and tokens\n";
  append_options(text, section("data").options, "  ");
  text += "\n[pipeline]  stages and schedule\n";
  append_options(text, section("pipeline").options, "  ");
  text += "  schedules\n";
  for (const ScheduleSpec& schedule : catalogue.schedules) {
    text += fmt::format("    {}: {}\n", schedule.name, schedule.summary);
  }
  text += "\n[optimizer]  name and the options of that optimizer\n";
  append_options(text, {name_only(section("optimizer"))}, "  ");
  append_components(text, catalogue.optimizers);
  text += fmt::format(
      "\n[optimizer.fallback]  the same for the parameters that a matrix optimizer does not take; "
      "{} are those of [optimizer] unless given\n",
      joined(inherited_options(), " and "));
  append_options(text, {name_only(section("optimizer.fallback"))}, "  ");
  text += fmt::format(
      "\n[[optimizer.group]]  an optimizer for the parameters with certain names; may be repeated, "
      "and the first group that matches gets the parameter. name is that of [optimizer] unless "
      "given. Options not given are those of [optimizer] or [optimizer.fallback] where it names "
      "the same optimizer, else {} are those of [optimizer]. Overrides count groups from 0: --set "
      "optimizer.group.0.lr_factor=0.5; the next number adds a group\n",
      joined(inherited_options(), " and "));
  for (const OptionSpec& spec : section(group_name(0)).options) {
    if (spec.key == "match" || spec.key == "lr_factor") append_options(text, {spec}, "  ");
  }
  append_options(text, {name_only(section("optimizer"))}, "  ");
  text += "\n[correction]  of the gradient delay: name and the options of that correction\n";
  append_options(text, {name_only(section("correction"))}, "  ");
  append_components(text, catalogue.corrections);
  text += "\n[train]  length, learning rate and evaluation\n";
  append_options(text, section("train").options, "  ");
  text += "\n[output]  what a run leaves behind\n";
  append_options(text, section("output").options, "  ");
  return text;
}

}  // namespace penstock::config
