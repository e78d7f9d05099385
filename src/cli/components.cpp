#include "cli/components.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "base/suggest.h"
#include "delay/registry.h"
#include "optim/registry.h"
#include "optim/state_size.h"

namespace penstock::cli {
namespace {

using Shape = std::vector<std::int64_t>;

// Square and wide matrices, one with a side that is too large for some rules, and a vector long
// enough for single numbers not to count.
const std::vector<Shape>& probed_shapes() {
  static const std::vector<Shape> shapes = {{1024, 1024}, {1024, 4096}, {32000, 1024}, {65536}};
  return shapes;
}

std::int64_t count_of(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

template <class Entry>
std::vector<Component> components_of(const std::vector<Entry>& entries) {
  std::vector<Component> all;
  for (const Entry& entry : entries) {
    Component component{entry.spec, {}};
    const auto made = entry.make({entry.spec.name, {}});
    for (const Shape& shape : probed_shapes()) {
      if (entry.spec.takes_matrices_only && shape.size() != 2) continue;
      const auto bytes =
          optim::state_bytes([&](const at::Tensor& weight) { return made->init(weight); }, shape);
      component.states.push_back(
          {shape, static_cast<double>(bytes) / static_cast<double>(count_of(shape))});
    }
    all.push_back(std::move(component));
  }
  return all;
}

const Component* find(const std::vector<Component>& components, const std::string& name) {
  const auto found = std::ranges::find(components, name, [](const auto& c) { return c.spec.name; });
  return found == components.end() ? nullptr : &*found;
}

std::vector<std::string> names_of(const std::vector<Component>& components) {
  std::vector<std::string> names;
  for (const Component& component : components) names.push_back(component.spec.name);
  return names;
}

/// A number of bytes in at most two decimals.
std::string bytes_text(double bytes) { return fmt::format("{}", std::round(bytes * 100) / 100); }

/// "8 bytes per parameter", or by shape where that matters.
std::string state_text(const Component& component) {
  const auto text = [](const StateSize& state) { return bytes_text(state.bytes_per_parameter); };
  const auto& states = component.states;
  const bool equal = std::ranges::all_of(
      states, [&](const StateSize& state) { return text(state) == text(states.front()); });
  if (equal) {
    const std::string bytes = text(states.front());
    return bytes == "0" ? "none" : fmt::format("{} bytes per parameter", bytes);
  }
  std::string all;
  for (const StateSize& state : states) {
    const std::string shape = state.shape.size() == 1 ? "vectors" : optim::shape_text(state.shape);
    all += fmt::format("{}{} ({})", all.empty() ? "" : ", ", text(state), shape);
  }
  return "bytes per parameter by shape: " + all;
}

/// Type and range of an option, such as "number in [0, 1)".
std::string domain_text(const config::OptionSpec& option, std::string_view between_choices) {
  if (option.type == config::OptionType::choice) {
    return config::joined(option.choices, between_choices);
  }
  const config::OptionInfo info = option.info();
  return info.range_text.empty() ? info.type : info.type + " " + info.range_text;
}

std::string scope_text(const config::ComponentSpec& spec) {
  if (spec.takes_matrices_only) return "for matrices; the others go to [optimizer.fallback]";
  if (spec.needs_seen_weights) return "needs a schedule that keeps the weights of a gradient";
  return {};
}

std::string component_text(const Component& component) {
  const config::ComponentSpec& spec = component.spec;
  std::string text = fmt::format("{}: {}\n", spec.name, spec.summary);
  if (!spec.source.empty()) text += fmt::format("  source: {}\n", spec.source);
  text += fmt::format("  state:  {}\n", state_text(component));
  const std::string scope = scope_text(spec);
  if (!scope.empty()) text += fmt::format("  {}\n", scope);
  for (const config::OptionSpec& option : spec.options) {
    text += fmt::format("    {} = {}    ({})\n        {}\n", option.key, option.info().default_text,
                        domain_text(option, " | "), option.help);
  }
  return text;
}

std::string section_text(std::string_view title, const std::vector<Component>& components) {
  if (components.empty()) return {};
  std::string text = fmt::format("{}\n", title);
  for (const Component& component : components) text += "\n" + component_text(component);
  return text;
}

/// As the cell of a table.
std::string cell(std::string_view text) {
  std::string safe;
  for (const char c : text) safe += c == '|' ? "\\|" : std::string(1, c);
  return safe;
}

std::string overview(const std::vector<Component>& components) {
  std::string text =
      "| name | what it does | state, bytes per parameter | source |\n|---|---|---|---|\n";
  for (const Component& component : components) {
    std::string state = state_text(component);
    for (const std::string_view words :
         {" bytes per parameter", "bytes per parameter by shape: "}) {
      if (const auto at = state.find(words); at != std::string::npos) state.erase(at, words.size());
    }
    text += fmt::format("| `{}` | {} | {} | {} |\n", component.spec.name,
                        cell(component.spec.summary), state, cell(component.spec.source));
  }
  return text;
}

std::string options_markdown(const std::vector<Component>& components) {
  std::string text;
  for (const Component& component : components) {
    if (component.spec.options.empty()) continue;
    text += fmt::format("\n### {}\n", component.spec.name);
    const std::string scope = scope_text(component.spec);
    if (!scope.empty()) {
      text +=
          fmt::format("\n{}{}.\n", static_cast<char>(std::toupper(scope.front())), scope.substr(1));
    }
    text += "\n| option | default | values | meaning |\n|---|---|---|---|\n";
    for (const config::OptionSpec& option : component.spec.options) {
      text += fmt::format("| `{}` | `{}` | {} | {} |\n", option.key, option.info().default_text,
                          domain_text(option, ", "), cell(option.help));
    }
  }
  return text;
}

nlohmann::ordered_json json_of(const config::OptionSpec& option) {
  const config::OptionInfo info = option.info();
  nlohmann::ordered_json object = {{"key", info.key},
                                   {"type", info.type},
                                   {"default", info.default_text},
                                   {"range", info.range_text},
                                   {"help", info.help}};
  if (!option.choices.empty()) object["choices"] = option.choices;
  return object;
}

nlohmann::ordered_json json_of(const Component& component) {
  const config::ComponentSpec& spec = component.spec;
  nlohmann::ordered_json object = {{"name", spec.name},
                                   {"summary", spec.summary},
                                   {"source", spec.source},
                                   {"takes_matrices_only", spec.takes_matrices_only},
                                   {"needs_seen_weights", spec.needs_seen_weights}};
  object["state"] = nlohmann::ordered_json::array();
  for (const StateSize& state : component.states) {
    object["state"].push_back(
        {{"shape", state.shape}, {"bytes_per_parameter", state.bytes_per_parameter}});
  }
  object["options"] = nlohmann::ordered_json::array();
  for (const auto& option : spec.options) object["options"].push_back(json_of(option));
  return object;
}

nlohmann::ordered_json json_of(const std::vector<Component>& components) {
  auto array = nlohmann::ordered_json::array();
  for (const Component& component : components) array.push_back(json_of(component));
  return array;
}

}  // namespace

Components registered_components() {
  return {components_of(optim::registry()), components_of(delay::registry())};
}

Components only(const Components& all, const std::string& name) {
  Components found;
  if (const Component* optimizer = find(all.optimizers, name)) found.optimizers = {*optimizer};
  if (const Component* correction = find(all.corrections, name)) found.corrections = {*correction};
  if (!found.optimizers.empty() || !found.corrections.empty()) return found;
  auto names = names_of(all.optimizers);
  std::ranges::copy(names_of(all.corrections), std::back_inserter(names));
  const std::string near = suggest(name, names);
  throw user_error("command line",
                   "no optimizer or correction is called '{}'; {}the optimizers are {}, the "
                   "corrections {}",
                   name, near.empty() ? "" : fmt::format("did you mean '{}'? ", near),
                   config::joined(names_of(all.optimizers), ", "),
                   config::joined(names_of(all.corrections), ", "));
}

std::string to_text(const Components& components) {
  const std::string optimizers = section_text("optimizers", components.optimizers);
  const std::string corrections = section_text("corrections", components.corrections);
  return optimizers + (optimizers.empty() || corrections.empty() ? "" : "\n") + corrections;
}

std::string to_markdown(const Components& components) {
  return "## Optimizers\n\n" + overview(components.optimizers) +
         options_markdown(components.optimizers) + "\n## Corrections\n\n" +
         overview(components.corrections) + options_markdown(components.corrections);
}

nlohmann::ordered_json to_json(const Components& components) {
  return {{"optimizers", json_of(components.optimizers)},
          {"corrections", json_of(components.corrections)}};
}

}  // namespace penstock::cli
