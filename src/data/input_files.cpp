#include "data/input_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

bool has_wildcard(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

bool is_hidden(const fs::path& name) { return name.native().starts_with('.'); }

/// Size and time of a regular file; nothing for anything else.
std::optional<InputFile> regular_file(const fs::path& path, std::string name) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  InputFile file;
  file.path = path;
  file.name = std::move(name);
  file.size = static_cast<std::uint64_t>(status.st_size);
  file.mtime_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  return file;
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator iterator(folder.empty() ? "." : folder, error);
  std::vector<fs::directory_entry> entries;
  for (; !error && iterator != fs::directory_iterator(); iterator.increment(error)) {
    entries.push_back(*iterator);
  }
  if (error) {
    throw user_error("data", "cannot read folder '{}': {}", folder.string(), error.message());
  }
  return entries;
}

/// Follows the pattern's components from one folder down.
class Walk {
 public:
  void visit(const fs::path& folder, const std::string& below,
             std::span<const std::string> pattern) {
    if (pattern.empty()) return;
    const std::string& component = pattern.front();
    const bool any_depth = component == "**";
    if (any_depth && pattern.size() > 1) visit(folder, below, pattern.subspan(1));
    for (const fs::directory_entry& entry : entries_of(folder)) {
      const std::string name = entry.path().filename().string();
      const bool matches = any_depth ? !is_hidden(name) : component_matches(name, component);
      if (!matches) continue;
      const fs::path path = folder / name;
      const bool last = pattern.size() == 1;
      if (entry.is_directory() && !entry.is_symlink()) {
        if (any_depth) visit(path, below + name + "/", pattern);
        if (!any_depth && !last) visit(path, below + name + "/", pattern.subspan(1));
      } else if (last) {
        if (auto file = regular_file(path, below + name)) found.push_back(std::move(*file));
      }
    }
  }

  std::vector<InputFile> found;
};

/// The part of a glob before its first wildcard, and the components from there on.
std::pair<fs::path, std::vector<std::string>> split_glob(const std::string& glob) {
  fs::path root;
  std::vector<std::string> pattern;
  for (const fs::path& part : fs::path(glob)) {
    if (pattern.empty() && !has_wildcard(part.native())) {
      root /= part;
    } else {
      pattern.push_back(part.string());
    }
  }
  return {root, pattern};
}

std::vector<InputFile> walk(const fs::path& root, const std::vector<std::string>& pattern) {
  Walk walk;
  walk.visit(root, "", pattern);
  std::sort(walk.found.begin(), walk.found.end(),
            [](const InputFile& a, const InputFile& b) { return a.name < b.name; });
  return std::move(walk.found);
}

std::vector<InputFile> files_of(const std::string& input) {
  std::error_code error;
  const fs::file_status status = fs::status(input, error);
  if (fs::is_directory(status)) {
    std::vector<InputFile> files = walk(input, {"**"});
    if (files.empty()) throw user_error("data", "folder '{}' holds no files", input);
    return files;
  }
  if (fs::exists(status)) {
    std::optional<InputFile> file = regular_file(input, fs::path(input).filename().string());
    if (!file) throw user_error("data", "'{}' is not a regular file", input);
    file->named = true;
    return {std::move(*file)};
  }
  if (status.type() == fs::file_type::none) {
    throw user_error("data", "cannot read '{}': {}", input, error.message());
  }
  if (!has_wildcard(input)) {
    throw user_error("data", "'{}' does not exist; check the path", input);
  }
  const auto [root, pattern] = split_glob(input);
  if (!root.empty() && !fs::is_directory(root, error)) {
    throw user_error("data", "'{}' matches nothing: there is no folder '{}'", input, root.string());
  }
  std::vector<InputFile> files = walk(root, pattern);
  if (files.empty()) throw user_error("data", "'{}' matches no files", input);
  return files;
}

bool is_below(const fs::path& file, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first ==
         folder.end();
}

/// Position behind the set [...] that starts at `at`, and whether it has `c`; at the end of the
/// pattern there is no set, and the bracket is a literal.
std::optional<std::pair<std::size_t, bool>> match_set(std::string_view pattern, std::size_t at,
                                                      char c) {
  const bool inverted = at + 1 < pattern.size() && pattern[at + 1] == '!';
  const std::size_t first = at + (inverted ? 2 : 1);
  const std::size_t close = pattern.find(']', first + 1);
  if (close == pattern.npos) return std::nullopt;
  bool inside = false;
  for (std::size_t i = first; i < close;) {
    const bool range = i + 2 < close && pattern[i + 1] == '-';
    const auto low = static_cast<unsigned char>(pattern[i]);
    const auto high = static_cast<unsigned char>(pattern[range ? i + 2 : i]);
    const auto value = static_cast<unsigned char>(c);
    inside = inside || (low <= value && value <= high);
    i += range ? 3 : 1;
  }
  return std::pair{close + 1, inside != inverted};
}

/// Behind the pattern's element at `at` where it matches `c`; 0 where it does not.
std::size_t match_one(std::string_view pattern, std::size_t at, char c) {
  if (pattern[at] == '?') return at + 1;
  if (pattern[at] == '[') {
    if (const auto set = match_set(pattern, at, c)) return set->second ? set->first : 0;
  }
  return pattern[at] == c ? at + 1 : 0;
}

}  // namespace

bool component_matches(std::string_view name, std::string_view pattern) {
  if (name.starts_with('.') && !pattern.starts_with('.')) return false;
  std::size_t n = 0;
  std::size_t p = 0;
  // Only the latest star can have to take one more character.
  std::optional<std::pair<std::size_t, std::size_t>> star;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = {p++, n};
    } else if (const std::size_t next = p < pattern.size() ? match_one(pattern, p, name[n]) : 0;
               next > 0) {
      p = next;
      ++n;
    } else if (star) {
      p = star->first + 1;
      n = ++star->second;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

std::vector<InputFile> find_files(const std::vector<std::string>& inputs, const fs::path& exclude) {
  const fs::path excluded = exclude.empty() ? fs::path() : fs::weakly_canonical(exclude);
  std::set<fs::path> seen;
  std::vector<InputFile> all;
  for (const std::string& input : inputs) {
    for (InputFile& file : files_of(input)) {
      const fs::path real = fs::weakly_canonical(file.path);
      if (!excluded.empty() && is_below(real, excluded)) continue;
      if (seen.insert(real).second) all.push_back(std::move(file));
    }
  }
  return all;
}

}  // namespace penstock::data
