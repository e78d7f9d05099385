#include "checkpoint/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "update-";
constexpr std::string_view partial_suffix = ".partial";

std::optional<std::int64_t> cut_of(const std::string& name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(prefix.size());
  std::int64_t cut = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), cut);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && cut >= 0 && checkpoint_name(cut) == name ? std::optional(cut) : std::nullopt;
}

[[noreturn]] void fail(const char* action, const fs::path& path) {
  throw std::system_error(errno, std::generic_category(),
                          fmt::format("cannot {} '{}'", action, path.string()));
}

}  // namespace

std::string checkpoint_name(std::int64_t cut) { return fmt::format("{}{:08}", prefix, cut); }

std::vector<Entry> list_checkpoints(const fs::path& folder) {
  std::vector<Entry> entries;
  if (!fs::is_directory(folder)) return entries;
  for (const auto& item : fs::directory_iterator(folder)) {
    const auto cut = cut_of(item.path().filename().string());
    if (cut && item.is_directory()) entries.push_back({*cut, item.path()});
  }
  std::ranges::sort(entries, {}, &Entry::cut);
  return entries;
}

fs::path partial_path(const fs::path& path) {
  fs::path partial = path;
  partial += partial_suffix;
  return partial;
}

void remove_partial_checkpoints(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> partial;
  for (const auto& item : fs::directory_iterator(folder)) {
    const std::string name = item.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(partial_suffix)) partial.push_back(item.path());
  }
  for (const auto& path : partial) fs::remove_all(path);
}

void flush_to_disk(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("open", path);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  if (result != 0) fail("flush", path);
}

void publish_checkpoint(const fs::path& path) {
  const fs::path partial = partial_path(path);
  flush_to_disk(partial);
  if (std::rename(partial.c_str(), path.c_str()) != 0) fail("rename", partial);
  flush_to_disk(path.parent_path());
}

void remove_checkpoint(const fs::path& path) {
  const fs::path partial = partial_path(path);
  fs::remove_all(partial);
  fs::rename(path, partial);
  fs::remove_all(partial);
}

}  // namespace penstock::checkpoint
