#pragma once
// From what the user names to a list of files.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::data {

struct InputFile {
  std::filesystem::path path;
  /// Path below the folder or below the glob's part without wildcards, with '/'; of a file that was
  /// named itself, its file name.
  std::string name;
  bool named = false;  ///< The user gave this very path, not a folder or a glob.
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
};

/// Whether a path component matches a pattern of literal characters, * (any characters), ? (any
/// one), [abc], [a-z] and [!a]. As in a shell, a leading dot is matched by a literal dot only.
bool component_matches(std::string_view name, std::string_view pattern);

/// The files of each input, in the order of the inputs:
///   a file: itself;
///   a folder: all regular files below it;
///   a glob: all regular files it matches; ** stands for any number of folders.
/// Files of one input are in bytewise order of `name`, so the order does not depend on the machine.
/// Folders and globs leave out names that start with a dot and do not follow links to folders; a
/// file that two inputs name counts once, where it comes first. Files below `exclude` are left out.
/// Errors: UserError for an input that does not exist, a glob or folder without files, a folder
/// that cannot be read.
std::vector<InputFile> find_files(const std::vector<std::string>& inputs,
                                  const std::filesystem::path& exclude = {});

}  // namespace penstock::data
