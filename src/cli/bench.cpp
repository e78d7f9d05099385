#include "train/bench.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"

namespace penstock::cli {
namespace {

struct Arguments {
  train::BenchOptions options;
  bool json = false;
};

void check(const train::BenchOptions& options) {
  for (const int threads : options.threads) {
    if (threads < 1 || threads > 4096) {
      throw user_error("command line", "--threads has {}; give numbers from 1 to 4096", threads);
    }
  }
  if (!(options.seconds >= 0.01 && options.seconds <= 3600)) {  // not a number is neither
    throw user_error("command line", "--seconds = {}; give a number from 0.01 to 3600",
                     options.seconds);
  }
}

void run(const Arguments& arguments) {
  check(arguments.options);
  const auto result = train::bench(arguments.options);
  fmt::print("{}", train::to_text(result));
  if (arguments.json) fmt::print("{}\n", train::to_json(result).dump());
}

}  // namespace

void add_bench_command(CLI::App& root) {
  auto* command = root.add_subcommand(
      "bench", "Measure this machine: matrix products, copies of memory, messages.");
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("--threads", arguments->options.threads,
                   "Threads of a worker, a list; each is measured with one worker and with as many "
                   "as the cores hold. Default: 1, and all cores.")
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--seconds", arguments->options.seconds,
                      "To measure for, roughly; more gives steadier figures. Default: 4.");
  command->add_flag("--json", arguments->json, "Print the result as one JSON object at the end.");
  command->footer(
      "The shares of bounds in penstock train --profile refer to these figures.\n"
      "Example: penstock bench\n"
      "         penstock bench --threads 1,4 --seconds 20 --json");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
