#pragma once
// The folder of a run's checkpoints: RUN/checkpoints/update-00000100/{manifest.json,
// stage-0000.safetensors, ...}. What is not complete bears a name that ends with ".partial".

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace penstock::checkpoint {

/// "update-00000100".
std::string checkpoint_name(std::int64_t cut);

struct Entry {
  std::int64_t cut = 0;
  std::filesystem::path path;
};

/// The complete checkpoints in `folder`, oldest first; none where there is no such folder.
std::vector<Entry> list_checkpoints(const std::filesystem::path& folder);

/// The path under which the checkpoint at `path` is made, and removed.
std::filesystem::path partial_path(const std::filesystem::path& path);

/// Removes what killed processes have left half written or half removed. Only for the process that
/// holds the run folder. Errors: std::filesystem::filesystem_error.
void remove_partial_checkpoints(const std::filesystem::path& folder);

/// Returns when the file's content, or the folder's names, survive a loss of power.
/// Errors: std::system_error naming it.
void flush_to_disk(const std::filesystem::path& path);

/// Makes the checkpoint at `partial_path(path)` appear as `path`, on the disk when this returns.
/// Errors: std::system_error naming the folder.
void publish_checkpoint(const std::filesystem::path& path);

/// At no moment is there half a checkpoint that looks complete.
/// Errors: std::filesystem::filesystem_error.
void remove_checkpoint(const std::filesystem::path& path);

}  // namespace penstock::checkpoint
