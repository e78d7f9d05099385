#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "config/print.h"
#include "train/catalogue.h"
#include "train/trainer.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string trace;
  bool json = false;
  bool help_config = false;
};

std::string file_name(const std::string& given) {
  return given.empty() ? "a file's name is empty; name one" : "";
}

void run(const Arguments& arguments) {
  const auto catalogue = train::catalogue();
  if (arguments.help_config) {
    fmt::print("{}", config::describe_options(catalogue));
    return;
  }
  if (arguments.config.empty()) {
    throw user_error("command line",
                     "train needs a configuration, none was given; try examples/quickstart.toml");
  }
  const auto config = config::load(arguments.config, arguments.overrides, catalogue);
  const auto summary =
      train::train(config, {std::cout, observe::detect_console(STDOUT_FILENO), arguments.trace});
  if (arguments.json) fmt::print("{}\n", observe::to_json(summary).dump());
}

}  // namespace

void add_train_command(CLI::App& root) {
  auto* command = root.add_subcommand("train", "Train a model as a configuration says.");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "Configuration (TOML).");
  command
      ->add_option("--set", arguments->overrides,
                   "Override one key: --set section.key=value. May be repeated.")
      ->allow_extra_args(false);
  command
      ->add_option("--trace", arguments->trace,
                   "Record what every stage does and when; for penstock trace and Perfetto.")
      ->check(file_name);
  command->add_flag("--json", arguments->json, "Print the summary as one JSON object at the end.");
  command->add_flag("--help-config", arguments->help_config,
                    "Explain every section and key of a configuration.");
  command->footer(
      "Ctrl-C ends the run after the started batches and writes the weights.\n"
      "Example: penstock train examples/quickstart.toml --set train.steps=100 --json");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
