#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "config/print.h"
#include "ranks/group.h"
#include "train/catalogue.h"
#include "train/run_folder.h"
#include "train/share.h"
#include "train/trainer.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::string config;
  std::string resume;
  std::vector<std::string> overrides;
  std::optional<std::int64_t> save_every;
  std::string trace;
  bool profile = false;
  bool json = false;
  bool help_config = false;
};

std::string file_name(const std::string& given) {
  return given.empty() ? "a file's name is empty; name one" : "";
}

std::string folder_name(const std::string& given) {
  return given.empty() ? "a folder's name is empty; name one" : "";
}

/// A run that goes on is described by its own folder.
void check_resume(const Arguments& arguments) {
  if (!arguments.config.empty()) {
    throw user_error("command line",
                     "train takes a configuration or --resume, '{}' and --resume '{}' were given; "
                     "leave one out",
                     arguments.config, arguments.resume);
  }
  if (arguments.overrides.empty() && !arguments.save_every) return;
  throw user_error("command line",
                   "--resume goes on with the run's own configuration, --set and --save-every were "
                   "given beside it; leave them out, or edit '{}' first: [data], [output], "
                   "train.skip_limit and train.watchdog may be changed there",
                   train::RunFolder{arguments.resume}.config().string());
}

observe::RunSummary start(const Arguments& arguments, const config::Catalogue& catalogue,
                          const train::TrainOutput& output) {
  if (arguments.config.empty()) {
    throw user_error("command line",
                     "train needs a configuration, none was given; try examples/quickstart.toml");
  }
  auto overrides = arguments.overrides;
  if (arguments.save_every) {
    overrides.push_back(fmt::format("output.save_every={}", *arguments.save_every));
  }
  return train::train(config::load(arguments.config, overrides, catalogue), output);
}

void report_run(const Arguments& arguments, ranks::Group* group) {
  const auto catalogue = train::catalogue();
  const train::TrainOutput output{std::cout, observe::detect_console(STDOUT_FILENO),
                                  arguments.trace, group, arguments.profile};
  if (!arguments.resume.empty()) check_resume(arguments);
  const auto summary = arguments.resume.empty() ? start(arguments, catalogue, output)
                                                : train::resume(arguments.resume, output);
  if (arguments.json) fmt::print("{}\n", observe::to_json(summary).dump());
}

void run(const Arguments& arguments) {
  if (arguments.help_config) {
    fmt::print("{}", config::describe_options(train::catalogue()));
    return;
  }
  const auto environment = ranks::read_environment();
  if (!environment) return report_run(arguments, nullptr);
  ranks::Group group({.environment = *environment});
  ranks::run_together(group, [&] {
    if (group.rank() > 0) return train::train_share(group);
    report_run(arguments, &group);
  });
}

}  // namespace

void add_train_command(CLI::App& root, bool runs) {
  auto* command = root.add_subcommand("train", "Train a model as a configuration says.");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "Configuration (TOML).");
  command
      ->add_option("--set", arguments->overrides,
                   "Override one key: --set section.key=value. May be repeated.")
      ->allow_extra_args(false);
  command
      ->add_option("--save-every", arguments->save_every,
                   "Updates between two checkpoints: output.save_every.")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000'000}));
  command
      ->add_option("--resume", arguments->resume,
                   "Go on with the run in this folder from its newest checkpoint.")
      ->type_name("RUN")
      ->check(folder_name);
  command
      ->add_option("--trace", arguments->trace,
                   "Record what every stage does and when; for penstock trace and Perfetto.")
      ->check(file_name);
  command->add_flag(
      "--profile", arguments->profile,
      "Tell at the end where a step goes, operation by operation, and how much of the "
      "machine's bounds each reaches.");
  command->add_flag("--json", arguments->json, "Print the summary as one JSON object at the end.");
  command->add_flag("--help-config", arguments->help_config,
                    "Explain every section and key of a configuration.");
  command->footer(
      "Ctrl-C ends the run after the started batches and writes the weights; with --save-every it "
      "also\nleaves a checkpoint to go on from.\n"
      "Example: penstock train examples/quickstart.toml --set train.steps=100 --json\n"
      "         penstock train examples/quickstart.toml --save-every 100\n"
      "         penstock train --resume runs/quickstart");
  command->callback([arguments, runs] {
    if (runs) run(*arguments);
  });
}

}  // namespace penstock::cli
