#pragma once
// Flags that all commands with pictures share.

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>

#include "timeline/picture.h"

namespace penstock::cli {

struct PictureOptions {
  std::string colour = "auto";  // or "always", "never"
  std::size_t width = 0;        // 0: the terminal's; no limit where output is no terminal
  bool narrow = false;
  std::string svg;  // files to write; empty: none
  std::string html;
};

void add_picture_options(CLI::App& command, PictureOptions& options);

/// Whether to print escape codes: as the options say, or where stdout is a terminal with colours
/// and NO_COLOR is not set.
bool use_colour(const PictureOptions& options);

/// Columns of a line; 0: no limit.
std::size_t line_width(const PictureOptions& options);

/// The picture as text for stdout, with a note on what did not fit.
std::string to_text(const timeline::Picture& picture, const PictureOptions& options);

/// Writes the files that the options ask for and returns a line about each.
std::string write_files(const timeline::Picture& picture, const PictureOptions& options,
                        const std::string& title);

}  // namespace penstock::cli
