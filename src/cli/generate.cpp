#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "cli/commands.h"
#include "train/language_model.h"
#include "train/run_folder.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::string run;
  std::string prompt;
  train::Sampling sampling;
  bool json = false;
};

void run(const Arguments& arguments) {
  const double temperature = arguments.sampling.temperature;
  if (!std::isfinite(temperature) || temperature < 0) {
    throw user_error("command line", "--temperature = {} is no temperature; give a number >= 0",
                     temperature);
  }
  const auto run = train::load_run(arguments.run);
  if (!run.tokenizer) {
    throw user_error("run",
                     "'{}' has no tokenizer.json, so there is no text; train with a "
                     "tokenizer (data.tokenizer)",
                     arguments.run);
  }
  const auto end = data::Tokenizer::end_of_document;
  std::vector<std::uint32_t> prompt{end};
  run.tokenizer->encode(arguments.prompt, prompt);
  const std::size_t given = prompt.size();
  const train::LanguageModel model(run.config.model, run.weights);
  const auto ids =
      train::sample(model, run.config.model.seq, std::move(prompt), end, arguments.sampling);
  const std::string text = run.tokenizer->decode(ids);
  fmt::print("{}\n", text);
  if (arguments.json) {
    const nlohmann::json summary{
        {"prompt", arguments.prompt}, {"text", text}, {"tokens", ids.size() - given}};
    fmt::print("{}\n", summary.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
}

}  // namespace

void add_generate_command(CLI::App& root) {
  auto* command = root.add_subcommand("generate", "Sample text from a finished run.");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("run", arguments->run, "Run folder.")->required();
  command->add_option("--prompt", arguments->prompt, "Text to continue.");
  command->add_option("--tokens", arguments->sampling.tokens, "At most this many new tokens.")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--temperature", arguments->sampling.temperature,
                   "0 takes the most likely token.")
      ->capture_default_str();
  command->add_option("--top-k", arguments->sampling.top_k, "Only the k most likely; 0: all.")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", arguments->sampling.seed, "Same seed, same text.")
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print one JSON object at the end.");
  command->footer("Example: penstock generate runs/quickstart --prompt \"def \" --tokens 100");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
