#include "schedule/grid_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "base/suggest.h"
#include "schedule/grid_text.h"

namespace penstock::schedule {
namespace {

using grid_text::in_quotes;
using grid_text::most_bytes;

std::string contents_of(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) {
    throw user_error("schedule", "'{}' is a folder; name a grid file in it", path);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw user_error("schedule",
                     "the grid file '{}' cannot be read; check its name, or choose a schedule such "
                     "as '2bw'",
                     path);
  }
  std::string text;
  std::vector<char> block(1 << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() <= most_bytes) continue;
    throw user_error("schedule", "the grid file '{}' has more than {} MiB; is it one?", path,
                     most_bytes >> 20);
  }
  return text;
}

}  // namespace

Schedule load(std::string_view name_or_path) {
  const std::string path(name_or_path);
  if (path.ends_with(grid_suffix)) return parse_grid(contents_of(path), path);
  std::vector<std::string> names;
  for (const Schedule& schedule : registry()) {
    if (schedule.name == name_or_path) return schedule;
    names.push_back(schedule.name);
  }
  if (path.find_first_of("/.") != std::string::npos) {
    throw user_error(
        "schedule",
        "names of grid files end in {}, but '{}' does not; rename the file, or choose one "
        "of {}",
        grid_suffix, path, fmt::join(names, ", "));
  }
  const std::string near = suggest(name_or_path, names);
  throw user_error(
      "schedule", "no schedule is called {}; {}choose one of {}, or a grid file, FILE{}",
      in_quotes(name_or_path), near.empty() ? "" : fmt::format("did you mean '{}'? ", near),
      fmt::join(names, ", "), grid_suffix);
}

}  // namespace penstock::schedule
