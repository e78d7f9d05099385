#include "cli/parse_error.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <initializer_list>
#include <string>
#include <vector>

namespace penstock::cli {
namespace {

/// What the program says of these arguments; "accepted" where they are right.
std::string message(std::initializer_list<const char*> arguments) {
  CLI::App app;
  app.require_subcommand(1);
  std::string text;
  int number = 0;
  bool json = false;
  CLI::App* train = app.add_subcommand("train");
  train->add_option("config", text);
  train->add_option("--set", text);
  train->add_flag("--json", json);
  train->add_flag("--help-config", json);
  CLI::App* generate = app.add_subcommand("generate");
  generate->add_option("run", text)->required();
  generate->add_option("--tokens", number)->check(CLI::PositiveNumber);
  std::vector<const char*> argv{"penstock"};
  argv.insert(argv.end(), arguments);
  const int argc = static_cast<int>(argv.size());
  try {
    app.parse(argc, argv.data());
  } catch (const CLI::ParseError& error) {
    return describe_parse_error(app, error, argc, argv.data());
  }
  return "accepted";
}

TEST(ParseError, RightArgumentsAreNone) {
  EXPECT_EQ(message({"train", "a.toml", "--json", "--set", "train.steps=1"}), "accepted");
  EXPECT_EQ(message({"generate", "run", "--tokens=5"}), "accepted");
}

TEST(ParseError, MisspeltCommand) {
  EXPECT_EQ(message({"trian", "a.toml"}),
            "[command line] there is no command 'trian'; did you mean 'train'?; see penstock "
            "--help");
}

TEST(ParseError, CommandLikeNoOther) {
  EXPECT_EQ(message({"xylophone"}),
            "[command line] there is no command 'xylophone'; see penstock --help");
}

TEST(ParseError, MisspeltFlagOfACommand) {
  EXPECT_EQ(message({"train", "a.toml", "--jsno"}),
            "[command line] there is no flag '--jsno'; did you mean '--json'?; see penstock train "
            "--help");
}

TEST(ParseError, AValueIsNoPartOfTheFlagsName) {
  EXPECT_EQ(message({"train", "--sett=train.steps=1"}),
            "[command line] there is no flag '--sett'; did you mean '--set'?; see penstock train "
            "--help");
  // --set is known: it is not what was wrong here.
  EXPECT_EQ(message({"train", "--set=a=1", "--jsno"}),
            "[command line] there is no flag '--jsno'; did you mean '--json'?; see penstock train "
            "--help");
}

TEST(ParseError, FlagsOfOtherCommandsAreUnknown) {
  EXPECT_EQ(message({"generate", "run", "--help-config"}),
            "[command line] there is no flag '--help-config'; see penstock generate --help");
}

TEST(ParseError, FlagBeforeTheCommand) {
  EXPECT_EQ(message({"--jsno"}), "[command line] there is no flag '--jsno'; see penstock --help");
}

TEST(ParseError, MissingCommandOrArgument) {
  EXPECT_EQ(message({}), "[command line] A subcommand is required; see penstock --help");
  EXPECT_EQ(message({"generate"}), "[command line] run is required; see penstock generate --help");
}

TEST(ParseError, EverythingElseIsInTheParsersWordsOnOneLine) {
  for (const std::string& text :
       {message({"train", "a.toml", "b.toml"}), message({"generate", "run", "--tokens", "0"}),
        message({"generate", "run", "--tokens", "many"}), message({"train", "--set"})}) {
    EXPECT_TRUE(text.starts_with("[command line] ")) << text;
    EXPECT_TRUE(text.ends_with(" --help")) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
  EXPECT_NE(message({"train", "a.toml", "b.toml"}).find("b.toml"), std::string::npos);
}

}  // namespace
}  // namespace penstock::cli
