#pragma once
// Writes checkpoints, stage by stage, as their states come in.

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "checkpoint/manifest.h"

namespace penstock::checkpoint {

/// One stage's state at a cut, all of it in named tensors.
struct Part {
  int stage = 0;
  std::int64_t cut = 0;
  std::map<std::string, at::Tensor> tensors;
};

/// A checkpoint is made under a temporary name, flushed to the disk, and renamed when every stage's
/// part is there; then, and not before, older ones are removed. So there is always the newest
/// complete one, whenever the process ends. A cut that stays incomplete leaves nothing.
/// Threads: one caller at a time.
class CheckpointWriter {
 public:
  struct Setup {
    std::filesystem::path folder;  ///< Of all checkpoints of the run; made by the first part.
    int stages = 1;
    Identity identity;
    /// Called when all parts of a checkpoint are written, before it appears. May be null.
    std::function<void()> before_publication;
  };
  explicit CheckpointWriter(Setup setup);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Writes one part: any order of stages, several cuts at a time, each part once. True where it
  /// was a checkpoint's last. Errors: std::system_error and std::filesystem::filesystem_error
  /// naming the file; older checkpoints then stay, and the writer is of no further use.
  bool write(const Part& part);

 private:
  void complete(std::int64_t cut);
  std::filesystem::path path_of(std::int64_t cut) const;

  const Setup setup_;
  std::map<std::int64_t, std::map<std::string, Fingerprint>> open_;  ///< Files so far, by cut.
};

}  // namespace penstock::checkpoint
