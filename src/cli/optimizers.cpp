#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/components.h"
#include "config/config.h"
#include "delay/registry.h"
#include "engine/parameter_routes.h"
#include "optim/routing.h"
#include "optim/state_size.h"
#include "train/catalogue.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::string name;
  std::string config;
  std::vector<std::string> overrides;
  bool markdown = false;
  bool json = false;
};

/// A configuration's parameters and what becomes of them.
struct Routed {
  config::Config config;
  std::vector<optim::ParameterInfo> parameters;
  std::vector<optim::Route> routes;
  std::vector<optim::ParameterState> states;
  std::int64_t correction_bytes = 0;
};

Routed route(const Arguments& a) {
  Routed routed;
  routed.config = config::load(a.config, a.overrides, train::catalogue());
  routed.parameters = engine::parameter_infos(routed.config.model);
  routed.routes = engine::parameter_routes(routed.config);
  routed.states = optim::state_of(routed.config, routed.parameters, routed.routes);
  const auto correction = delay::make(routed.config.correction);
  for (const auto& parameter : routed.parameters) {
    routed.correction_bytes += optim::state_bytes(
        [&](const at::Tensor& weight) { return correction->init(weight); }, parameter.shape);
  }
  return routed;
}

std::int64_t optimizer_bytes(const Routed& routed) {
  std::int64_t bytes = 0;
  for (const auto& state : routed.states) bytes += state.bytes;
  return bytes;
}

std::string mebibytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
}

nlohmann::ordered_json json_of(const optim::RoutedRule& rule) {
  return {{"rule", rule.name},
          {"optimizer", rule.optimizer},
          {"lr", rule.lr},
          {"lr_factor", rule.lr_factor},
          {"weight_decay", rule.weight_decay},
          {"parameters", rule.parameters},
          {"gains", rule.gains},
          {"elements", rule.elements},
          {"patterns", rule.patterns}};
}

nlohmann::ordered_json json_of(const Routed& routed, const std::vector<optim::RoutedRule>& rules) {
  nlohmann::ordered_json object;
  object["rules"] = nlohmann::ordered_json::array();
  for (const auto& rule : rules) object["rules"].push_back(json_of(rule));
  object["parameters"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < routed.parameters.size(); ++i) {
    object["parameters"].push_back({{"name", routed.parameters[i].name},
                                    {"shape", routed.parameters[i].shape},
                                    {"rule", optim::section_of(routed.routes[i])},
                                    {"optimizer", routed.states[i].optimizer},
                                    {"weight_decay", routed.routes[i].weight_decay},
                                    {"state_bytes", routed.states[i].bytes}});
  }
  object["optimizer_state_bytes"] = optimizer_bytes(routed);
  object["correction"] = routed.config.correction.name;
  object["correction_state_bytes"] = routed.correction_bytes;
  return object;
}

void print_routes(const Arguments& a) {
  const Routed routed = route(a);
  const auto rules = optim::routed_rules(routed.config, routed.parameters, routed.routes);
  fmt::print("{}\nstate: optimizers {}, correction '{}' {}\n", optim::routing_table(rules),
             mebibytes(optimizer_bytes(routed)), routed.config.correction.name,
             mebibytes(routed.correction_bytes));
  if (a.json) fmt::print("{}\n", json_of(routed, rules).dump());
}

void print_components(const Arguments& a) {
  const auto all = registered_components();
  const auto chosen = a.name.empty() ? all : only(all, a.name);
  fmt::print("{}", a.markdown ? to_markdown(chosen) : to_text(chosen));
  if (a.json) fmt::print("{}\n", to_json(chosen).dump());
}

void run(const Arguments& a) {
  if (!a.config.empty()) return print_routes(a);
  print_components(a);
}

}  // namespace

void add_optimizers_command(CLI::App& root) {
  auto* command = root.add_subcommand(
      "optimizers", "List optimizers and corrections, or say which parameter gets which.");
  const auto arguments = std::make_shared<Arguments>();
  auto* name = command->add_option("name", arguments->name, "Only this optimizer or correction.");
  auto* config =
      command
          ->add_option("--config", arguments->config,
                       "Print which optimizer this configuration gives to which parameters.")
          ->excludes(name);
  command
      ->add_option("--set", arguments->overrides,
                   "Override one key of the configuration: --set optimizer.group.0.lr=1e-3.")
      ->allow_extra_args(false)
      ->needs(config);
  auto* json = command->add_flag("--json", arguments->json,
                                 "Print the result as one JSON object at the end.");
  command
      ->add_flag("--markdown", arguments->markdown,
                 "Print the list as the part of docs/optimizers.md that is made from it.")
      ->excludes(name)
      ->excludes(config)
      ->excludes(json);
  command->footer(
      "Example: penstock optimizers\n"
      "         penstock optimizers muon\n"
      "         penstock optimizers --config examples/quickstart.toml --set optimizer.name=muon");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
