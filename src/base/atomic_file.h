#pragma once
// Files that are either complete or absent.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

/// Collects a file under a temporary name in the target's folder. `commit()` flushes it to the
/// disk and renames it to `target`; without it the destructor removes the temporary, so a reader
/// never sees half a file. Creates missing parent folders.
/// A link to a file stays, and the file is replaced.
/// Errors: UserError for a folder or a device, std::system_error naming the file (full disk,
/// permissions).
/// Threads: one writer per object.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  bool committed_ = false;
};

/// Writes `text` to `target` in one atomic step.
void write_file_atomically(const std::filesystem::path& target, std::string_view text);

}  // namespace penstock
