#pragma once
// Mistakes on the command line, in the words of the rest of the program.

#include <CLI/CLI.hpp>
#include <string>

namespace penstock::cli {

/// One line "[command line] rule, actual values; what to set" for what CLI11 refused, with the
/// nearest command or flag where one was misspelt.
std::string describe_parse_error(const CLI::App& root, const CLI::ParseError& error, int argc,
                                 const char* const* argv);

}  // namespace penstock::cli
