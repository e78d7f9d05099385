#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "config/config.h"
#include "ranks/launcher.h"
#include "train/catalogue.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::int64_t ranks = 1;
  std::vector<std::string> command;
};

constexpr std::int64_t most_ranks = 4096;

/// What the ranks will be asked to do, read as they will read it.
class TrainCommand {
 public:
  explicit TrainCommand(const std::vector<std::string>& command) {
    add_train_command(root_, false);
    train_ = root_.get_subcommand("train");
    // CLI11 takes arguments from the back.
    std::vector<std::string> reversed(command.rbegin(), command.rend());
    try {
      root_.parse(std::move(reversed));
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() != 0) {
        throw user_error("launch", "{}; see penstock train --help", error.what());
      }
      wants_help_ = true;
    }
  }

  bool wants_help() const { return wants_help_ || train_->count("--help-config") > 0; }

  /// None where the configuration is not on the command line.
  std::optional<std::int64_t> stages() const {
    const auto path = train_->get_option("config")->as<std::string>();
    if (path.empty()) return std::nullopt;
    const auto& overrides = train_->get_option("--set")->results();
    return config::load(path, overrides, train::catalogue()).pipeline.stages;
  }

 private:
  CLI::App root_;
  CLI::App* train_ = nullptr;
  bool wants_help_ = false;
};

void check(const Arguments& arguments) {
  if (arguments.ranks < 1 || arguments.ranks > most_ranks) {
    throw user_error("launch", "-n is {}, but must be from 1 to {}; give the number of processes",
                     arguments.ranks, most_ranks);
  }
  if (arguments.command.empty()) {
    throw user_error("launch", "there is no command to run; give one, such as -- train {}",
                     "examples/quickstart.toml");
  }
  if (arguments.command.front() != "train") {
    throw user_error("launch",
                     "only train runs as several processes, but the command is '{}'; give "
                     "-- train ... or run it without launch",
                     arguments.command.front());
  }
}

void run(const Arguments& arguments) {
  check(arguments);
  const TrainCommand train(arguments.command);
  ranks::Launch setup;
  setup.ranks = train.wants_help() ? 1 : static_cast<int>(arguments.ranks);
  const auto stages = train.wants_help() ? std::nullopt : train.stages();
  if (stages && arguments.ranks > *stages) {
    throw user_error("launch",
                     "each process needs a stage, but -n is {} and pipeline.stages = {}; set -n to "
                     "{} or less, or pipeline.stages to {} or more",
                     arguments.ranks, *stages, *stages, arguments.ranks);
  }
  setup.program = "/proc/self/exe";  // this very program, even if a newer one has taken its place
  setup.arguments = arguments.command;
  setup.arguments.insert(setup.arguments.begin(), "penstock");
  const int code = ranks::launch(setup);
  if (code != 0) throw ExitCode{code};
}

}  // namespace

void add_launch_command(CLI::App& root) {
  auto* command = root.add_subcommand(
      "launch", "Train as several processes on this machine, each with a share of the stages.");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("-n,--ranks", arguments->ranks, "Processes; at most pipeline.stages.")
      ->required();
  command->add_option("command", arguments->command, "train and its arguments, behind --.");
  command->footer(
      "The weights are the same as of one process. Ctrl-C ends the run as it does there.\n"
      "Example: penstock launch -n 2 -- train examples/quickstart.toml --set train.steps=200");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
