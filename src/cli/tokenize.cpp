// penstock tokenize: text files to token shards.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "data/tokenize_corpus.h"
#include "observe/progress.h"

namespace penstock::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Shows the stage of work and its time left on stderr, once the work has taken some seconds.
class ProgressLine {
 public:
  ProgressLine() : console_(observe::detect_console(STDERR_FILENO)) {}

  void update(std::string_view stage, double fraction) {
    if (stage != stage_) {
      stage_ = stage;
      stage_start_ = Clock::now();
    }
    const double interval = console_.terminal ? 0.2 : 5;
    if (seconds_since(start_) < 2 || seconds_since(drawn_) < interval) return;
    drawn_ = Clock::now();
    const double passed = seconds_since(stage_start_);
    std::string line = fmt::format("{} {:3.0f} %", stage_, 100 * fraction);
    if (passed > 1 && fraction > 0) {
      line += ", " + observe::duration_text(passed / fraction - passed) + " left";
    }
    std::cerr << (console_.terminal ? "\r\x1b[K" : "") << line << (console_.terminal ? "" : "\n")
              << std::flush;
    open_ = console_.terminal;
  }

  void finish() {
    if (open_) std::cerr << "\r\x1b[K" << std::flush;
    open_ = false;
  }

 private:
  observe::Console console_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point stage_start_ = start_;
  Clock::time_point drawn_ = start_;
  std::string stage_;
  bool open_ = false;
};

struct Options {
  data::TokenizeRequest request;
  std::string out;
  bool json = false;
};

struct Result {
  data::CorpusSummary summary;
  double seconds = 0;
};

double bytes_per_token(const data::CorpusSummary& summary) {
  return static_cast<double>(summary.bytes()) / static_cast<double>(summary.tokens());
}

std::string with_commas(std::uint64_t value) {
  std::string digits = fmt::format("{}", value);
  for (std::ptrdiff_t i = std::ssize(digits) - 3; i > 0; i -= 3) {
    digits.insert(static_cast<std::size_t>(i), ",");
  }
  return digits;
}

std::string to_text(const Options& options, const Result& result) {
  const data::CorpusSummary& summary = result.summary;
  const auto row = [](std::string_view name, const std::string& value) {
    return fmt::format("  {:<16} {}\n", name, value);
  };
  const auto parts = [](std::uint64_t train, std::uint64_t val) {
    return fmt::format("{} ({} training, {} validation)", with_commas(train + val),
                       with_commas(train), with_commas(val));
  };
  std::string skipped;
  if (summary.skipped_files > 0) {
    skipped = fmt::format(" ({} skipped, not text)", with_commas(summary.skipped_files));
  }
  std::string text =
      fmt::format("Wrote token shards to {} in {:.1f} s\n", options.out, result.seconds);
  text += row("files", with_commas(summary.files) + skipped);
  text += row("documents", parts(summary.train_documents, summary.val_documents));
  text += row("bytes", parts(summary.train_bytes, summary.val_bytes));
  text += row("tokens", parts(summary.train_tokens, summary.val_tokens));
  text += row("bytes per token", fmt::format("{:.3f}", bytes_per_token(summary)));
  text += row("vocabulary", fmt::format("{} ({})", summary.vocabulary, summary.tokenizer));
  text += row("unigram entropy",
              fmt::format("{:.4f} nats = {:.4f} bits per token", summary.unigram_entropy,
                          summary.unigram_entropy / std::numbers::ln2));
  const auto wanted = static_cast<std::uint64_t>(options.request.vocabulary);
  if (options.request.tokenizer == "bpe" && summary.vocabulary < wanted) {
    text += fmt::format(
        "The text gave {} ids, {} were asked for: no pair of tokens is left that "
        "occurs twice.\n",
        summary.vocabulary, wanted);
  }
  return text;
}

std::string to_json_line(const Options& options, const Result& result) {
  auto object = nlohmann::ordered_json::parse(data::to_json(result.summary));
  object["documents"] = result.summary.documents();
  object["bytes"] = result.summary.bytes();
  object["tokens"] = result.summary.tokens();
  object["bytes_per_token"] = bytes_per_token(result.summary);
  object["unigram_entropy_bits"] = result.summary.unigram_entropy / std::numbers::ln2;
  object["seconds"] = result.seconds;
  object["out"] = options.out;
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void run(Options& options) {
  const Clock::time_point start = Clock::now();
  ProgressLine progress;
  options.request.out = options.out;
  options.request.progress = [&](std::string_view stage, double fraction) {
    progress.update(stage, fraction);
  };
  Result result;
  try {
    result.summary = data::tokenize(options.request);
  } catch (...) {
    progress.finish();
    throw;
  }
  progress.finish();
  result.seconds = seconds_since(start);
  std::cout << to_text(options, result);
  if (options.json) std::cout << to_json_line(options, result) << '\n';
}

}  // namespace

void add_tokenize_command(CLI::App& root) {
  auto options = std::make_shared<Options>();
  data::TokenizeRequest& request = options->request;
  request.tokenizer = "bpe";
  request.vocabulary = 4096;
  CLI::App* command =
      root.add_subcommand("tokenize", "Turn text files into token shards for training");
  command
      ->add_option("INPUT", request.train,
                   "Text files, folders (all text below them) or globs (** for any depth)")
      ->required();
  command
      ->add_option("--val", request.val,
                   "Text for validation, instead of a part of INPUT; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--out", options->out, "Folder for the shards, tokenizer.json, summary.json")
      ->required();
  command
      ->add_option("--tokenizer", request.tokenizer,
                   "bytes, bpe (learnt from the training text) or a tokenizer.json")
      ->capture_default_str();
  const CLI::Option* vocab =
      command
          ->add_option("--vocab", request.vocabulary, "Ids of a new bpe vocabulary, at least 257")
          ->capture_default_str();
  command
      ->add_option("--val-fraction", request.val_fraction,
                   "Part of the documents for validation; 0: none")
      ->capture_default_str();
  command->add_option("--separator", request.separator,
                      "A line of this text ends a document; without it a file is a document");
  command
      ->add_option("--shard-tokens", request.shard_tokens,
                   "Tokens of a shard at most; documents stay whole")
      ->capture_default_str();
  command->add_flag("--force", request.replace, "Replace the shards that are in the folder");
  command->add_flag("--json", options->json, "Print the summary as JSON in the last line, too");
  command->footer(
      "Example:\n"
      "  penstock tokenize 'src/**/*.h' --out source-1k --vocab 1024\n"
      "  penstock train examples/quickstart.toml --set data.train=source-1k --set "
      "model.vocab=1024");
  command->callback([options, vocab] {
    if (vocab->count() > 0 && options->request.tokenizer != "bpe") {
      throw user_error("tokenize",
                       "--vocab {} is for --tokenizer bpe, '{}' has its own number of ids; leave "
                       "one of the two out",
                       options->request.vocabulary, options->request.tokenizer);
    }
    run(*options);
  });
}

}  // namespace penstock::cli
