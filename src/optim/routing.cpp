#include "optim/routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "base/suggest.h"
#include "config/sections.h"

namespace penstock::optim {
namespace {

using config::ComponentSpec;
using config::Config;
using config::TextList;
using Parameters = std::vector<ParameterInfo>;

const ComponentSpec& spec_of(const std::vector<ComponentSpec>& optimizers,
                             const std::string& name) {
  const ComponentSpec* spec = config::find_component(optimizers, name);
  if (spec == nullptr) throw std::logic_error(fmt::format("no optimizer is called '{}'", name));
  return *spec;
}

/// A numeric option of a component; 0 where it has none of that name.
double number_of(const config::ComponentConfig& component, const std::string& key) {
  const auto found = component.options.find(key);
  return found == component.options.end() ? 0 : std::get<double>(found->second);
}

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> parts_of(std::string_view name) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    parts.emplace_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// The names with '*' for the numbers of layers, each once, in the order of the model.
TextList forms_of(const Parameters& parameters) {
  TextList forms;
  std::set<std::string> seen;
  for (const ParameterInfo& parameter : parameters) {
    TextList parts = parts_of(parameter.name);
    for (std::string& part : parts) {
      if (is_number(part)) part = "*";
    }
    std::string form = config::joined(parts, ".");
    if (seen.insert(form).second) forms.push_back(std::move(form));
  }
  return forms;
}

/// Patterns that match something and that somebody may have meant: the forms, and each of their
/// parts between usual stars.
TextList likely_patterns(const Parameters& parameters) {
  TextList patterns = forms_of(parameters);
  std::set<std::string> parts;
  for (const std::string& form : patterns) {
    for (std::string& part : parts_of(form)) parts.insert(std::move(part));
  }
  for (const std::string& part : parts) {
    if (part == "*") continue;
    for (const std::string& pattern :
         {"*" + part + "*", "*." + part + ".*", "*." + part + ".weight", "*" + part + ".weight",
          part + ".*", "*." + part, part}) {
      const auto is_match = [&](const ParameterInfo& p) { return matches(pattern, p.name); };
      if (std::ranges::any_of(parameters, is_match)) patterns.push_back(pattern);
    }
  }
  return patterns;
}

void require_match(const Config& config, std::size_t group, const Parameters& parameters) {
  for (const std::string& pattern : config.groups[group].match) {
    const auto is_match = [&](const ParameterInfo& p) { return matches(pattern, p.name); };
    if (std::ranges::any_of(parameters, is_match)) continue;
    const std::string near = suggest(pattern, likely_patterns(parameters));
    throw user_error("config", "{}.match: the pattern {} matches none of the {} parameters; {}",
                     config::group_name(group), config::quoted(pattern), parameters.size(),
                     near.empty() ? "their names are " + config::joined(forms_of(parameters), ", ")
                                  : fmt::format("did you mean {}?", config::quoted(near)));
  }
}

bool group_matches(const config::OptimizerGroup& group, const std::string& name) {
  return std::ranges::any_of(group.match,
                             [&](const std::string& pattern) { return matches(pattern, name); });
}

std::optional<std::size_t> first_match(const Config& config, const std::string& name) {
  for (std::size_t i = 0; i < config.groups.size(); ++i) {
    if (group_matches(config.groups[i], name)) return i;
  }
  return std::nullopt;
}

/// The groups that took what `group` matches, which is something.
void refuse_without_share(const Config& config, std::size_t group, const Parameters& parameters) {
  std::set<std::size_t> takers;
  std::int64_t count = 0;
  for (const ParameterInfo& parameter : parameters) {
    if (!group_matches(config.groups[group], parameter.name)) continue;
    takers.insert(first_match(config, parameter.name).value());
    ++count;
  }
  TextList names;
  for (const std::size_t taker : takers) names.push_back(config::group_name(taker));
  throw user_error("config",
                   "{0} gets no parameter: the {1} that {2} matches go to {3}, since the first "
                   "match wins; put {0} before {4}, or remove it",
                   config::group_name(group), count,
                   config::to_toml(config::Value(config.groups[group].match)),
                   config::joined(names, " and "), names.front());
}

void require_share(const Config& config, const std::vector<Route>& routes,
                   const Parameters& parameters) {
  for (std::size_t i = 0; i < config.groups.size(); ++i) {
    const auto is_own = [i](const Route& r) { return r.rule == Rule::group && r.group == i; };
    if (std::ranges::none_of(routes, is_own)) refuse_without_share(config, i, parameters);
  }
}

void require_shape(const Config& config, const Route& route, const ParameterInfo& parameter,
                   const std::vector<ComponentSpec>& optimizers) {
  const std::string& name = optimizer_of(config, route).name;
  if (parameter.shape.size() == 2 || !spec_of(optimizers, name).takes_matrices_only) return;
  throw user_error("config",
                   "{0} would update '{1}' of shape {2} with optimizer '{3}', which takes matrices "
                   "only; {4}, or set {0}.name to an optimizer that takes every parameter",
                   section_of(route), parameter.name, shape_text(parameter.shape), name,
                   route.rule == Rule::group ? fmt::format("narrow {}.match", section_of(route))
                                             : "add an [[optimizer.group]] that matches it");
}

Route route_one(const Config& config, const ParameterInfo& parameter,
                const std::vector<ComponentSpec>& optimizers) {
  Route route;
  if (const auto group = first_match(config, parameter.name)) {
    route.rule = Rule::group;
    route.group = *group;
    route.lr_factor = config.groups[*group].lr_factor;
  } else if (!parameter.is_block_matrix &&
             spec_of(optimizers, config.optimizer.name).takes_matrices_only) {
    route.rule = Rule::fallback;
  }
  if (!parameter.is_gain) {
    route.weight_decay = number_of(optimizer_of(config, route), "weight_decay");
  }
  require_shape(config, route, parameter, optimizers);
  return route;
}

// ---- the table ----

using Cells = std::vector<std::string>;

std::string number_text(double value) { return fmt::format("{:.4g}", value); }

/// 1234567 as "1,234,567".
std::string count_text(std::int64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

std::string lr_text(const RoutedRule& rule) {
  if (rule.lr_factor == 1) return number_text(rule.lr);
  return fmt::format("{} (x {})", number_text(rule.lr), number_text(rule.lr_factor));
}

std::string decay_text(const RoutedRule& rule) {
  if (rule.weight_decay == 0 || rule.gains == 0) return number_text(rule.weight_decay);
  if (rule.gains == rule.parameters) return "0";
  return fmt::format("{}, gains 0", number_text(rule.weight_decay));
}

Cells cells_of(const RoutedRule& rule) {
  return {rule.name,
          rule.optimizer,
          lr_text(rule),
          decay_text(rule),
          count_text(rule.parameters),
          count_text(rule.elements),
          config::joined(rule.patterns, ", ")};
}

std::string aligned(const std::vector<Cells>& rows, const std::vector<bool>& right) {
  std::vector<std::size_t> widths(right.size(), 0);
  for (const Cells& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Cells& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += right[i] ? fmt::format("{:>{}}", row[i], widths[i])
                       : fmt::format("{:<{}}", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

RoutedRule empty_rule(const Config& config, const Route& route) {
  const config::ComponentConfig& optimizer = optimizer_of(config, route);
  RoutedRule rule;
  rule.name = section_of(route);
  rule.optimizer = optimizer.name;
  if (route.rule == Rule::group) {
    rule.lr_factor = config.groups[route.group].lr_factor;
    rule.patterns = config.groups[route.group].match;
  }
  rule.lr = rule.lr_factor * number_of(optimizer, "lr");
  rule.weight_decay = number_of(optimizer, "weight_decay");
  return rule;
}

}  // namespace

std::int64_t ParameterInfo::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::string section_of(const Route& route) {
  switch (route.rule) {
    case Rule::optimizer:
      return "optimizer";
    case Rule::fallback:
      return "optimizer.fallback";
    case Rule::group:
      return config::group_name(route.group);
  }
  throw std::logic_error("unknown rule");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

bool matches(std::string_view pattern, std::string_view name) {
  // Where the last star was, and how much of the name it has taken so far.
  std::size_t p = 0;
  std::size_t n = 0;
  std::optional<std::size_t> star;
  std::size_t after_star = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star) {
      p = *star + 1;
      n = ++after_star;
    } else {
      return false;
    }
  }
  return pattern.substr(p).find_first_not_of('*') == std::string_view::npos;
}

const config::ComponentConfig& optimizer_of(const Config& config, const Route& route) {
  switch (route.rule) {
    case Rule::optimizer:
      return config.optimizer;
    case Rule::fallback:
      return config.fallback.value();
    case Rule::group:
      return config.groups.at(route.group).optimizer;
  }
  throw std::logic_error("unknown rule");
}

std::vector<Route> route(const Config& config, const Parameters& parameters,
                         const std::vector<ComponentSpec>& optimizers) {
  for (std::size_t i = 0; i < config.groups.size(); ++i) require_match(config, i, parameters);
  std::vector<Route> routes;
  for (const ParameterInfo& parameter : parameters) {
    routes.push_back(route_one(config, parameter, optimizers));
  }
  require_share(config, routes, parameters);
  return routes;
}

std::vector<RoutedRule> routed_rules(const Config& config, const Parameters& parameters,
                                     const std::vector<Route>& routes) {
  if (routes.size() != parameters.size()) throw std::logic_error("a route for every parameter");
  std::vector<Route> kinds;
  for (std::size_t i = 0; i < config.groups.size(); ++i) kinds.push_back({Rule::group, i});
  kinds.push_back({Rule::optimizer});
  if (config.fallback) kinds.push_back({Rule::fallback});
  std::vector<RoutedRule> rules;
  for (const Route& kind : kinds) {
    RoutedRule& rule = rules.emplace_back(empty_rule(config, kind));
    for (std::size_t i = 0; i < routes.size(); ++i) {
      if (routes[i].rule != kind.rule || routes[i].group != kind.group) continue;
      rule.parameters += 1;
      rule.gains += parameters[i].is_gain ? 1 : 0;
      rule.elements += parameters[i].count();
    }
  }
  return rules;
}

std::string routing_table(const std::vector<RoutedRule>& rules) {
  const bool has_patterns =
      std::ranges::any_of(rules, [](const RoutedRule& rule) { return !rule.patterns.empty(); });
  std::vector<Cells> rows = {{"rule", "optimizer", "lr", "weight decay", "parameters", "elements",
                              has_patterns ? "patterns" : ""}};
  for (const RoutedRule& rule : rules) rows.push_back(cells_of(rule));
  return aligned(rows, {false, false, false, false, true, true, false});
}

}  // namespace penstock::optim
