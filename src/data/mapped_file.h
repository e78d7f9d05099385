#pragma once
// A file's bytes without reading them into memory of our own.

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace penstock::data {

/// A read-only memory map of a whole file. Moving keeps the bytes where they are. A file that is
/// replaced by renaming keeps its old contents here; one that another program shortens in place
/// must not be read any more (the system ends the process with SIGBUS).
/// Errors: UserError "[data]" for what is missing, a folder, no regular file or not readable.
/// Threads: `bytes` from any number of threads.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace penstock::data
