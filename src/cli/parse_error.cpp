#include "cli/parse_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <vector>

#include "base/suggest.h"

namespace penstock::cli {
namespace {

/// The command that the arguments name, or the program itself.
const CLI::App& chosen(const CLI::App& root) {
  const auto commands = root.get_subcommands();
  return commands.empty() ? root : *commands.front();
}

std::vector<std::string> known_flags(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

std::vector<std::string> known_commands(const CLI::App& root) {
  std::vector<std::string> names;
  for (const CLI::App* command : root.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string near = suggest(word, known);
  return near.empty() ? std::string() : fmt::format("; did you mean '{}'?", near);
}

/// CLI11's texts where they give no rule or show a limit nobody has to know.
std::string in_our_words(const std::string& text) {
  static const std::regex conversion(R"(Could not convert: (\S+) = (.*))");
  static const std::regex negative(R"((\S+): Value (\S+) not in range 0\.0+ to 17976\d+.*)");
  std::smatch match;
  if (std::regex_match(text, match, conversion)) {
    return fmt::format("{} is '{}', which is no number that it takes; give a number",
                       match[1].str(), match[2].str());
  }
  if (std::regex_match(text, match, negative)) {
    return fmt::format("{} is {}, but must be at least 0; give 0 or more", match[1].str(),
                       match[2].str());
  }
  return text;
}

}  // namespace

std::string describe_parse_error(const CLI::App& root, const CLI::ParseError& error, int argc,
                                 const char* const* argv) {
  const CLI::App& command = chosen(root);
  const bool at_root = &command == &root;
  const std::string help =
      at_root ? "penstock --help" : fmt::format("penstock {} --help", command.get_name());
  const auto commands = known_commands(root);
  const auto flags = known_flags(command);
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (at_root && !word.starts_with("-") && !contains(commands, word)) {
      return fmt::format("[command line] there is no command '{}'{}; see {}", word,
                         did_you_mean(word, commands), help);
    }
    word = word.substr(0, word.find('='));
    const bool is_extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
    if ((at_root || is_extra) && word.starts_with("--") && !contains(flags, word)) {
      return fmt::format("[command line] there is no flag '{}'{}; see {}", word,
                         did_you_mean(word, flags), help);
    }
  }
  return fmt::format("[command line] {}; see {}", in_our_words(error.what()), help);
}

}  // namespace penstock::cli
