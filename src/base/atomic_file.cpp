#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace penstock {
namespace {

[[noreturn]] void fail(const char* action, const std::filesystem::path& path) {
  throw std::system_error(errno, std::generic_category(),
                          fmt::format("cannot {} '{}'", action, path.string()));
}

/// Where to write for `target`: what a link points to, so that the link stays.
std::filesystem::path replaceable(std::filesystem::path target) {
  const auto what = std::filesystem::status(target);
  if (std::filesystem::exists(what) && !std::filesystem::is_regular_file(what)) {
    throw user_error("file", "'{}' is a folder or a device, which cannot be replaced; name a file",
                     target.string());
  }
  if (!std::filesystem::is_symlink(target) || !std::filesystem::exists(what)) return target;
  return std::filesystem::canonical(target);
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path target) : target_(replaceable(std::move(target))) {
  if (target_.has_parent_path()) std::filesystem::create_directories(target_.parent_path());
  temporary_ = target_;
  temporary_ += fmt::format(".partial-{}", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("create", temporary_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", temporary_);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("flush", temporary_);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close", temporary_);
  std::filesystem::rename(temporary_, target_);
  committed_ = true;
}

void write_file_atomically(const std::filesystem::path& target, std::string_view text) {
  AtomicFile file(target);
  file.write(text);
  file.commit();
}

}  // namespace penstock
