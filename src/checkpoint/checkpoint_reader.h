#pragma once
// Reads checkpoints, and trusts nothing in them before it is verified.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace penstock::checkpoint {

struct Checkpoint {
  Manifest manifest;
  std::vector<std::map<std::string, at::Tensor>> stages;
};

/// The newest complete checkpoint in the folder of a run's checkpoints; nothing where there is
/// none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

/// Reads manifest and names and compares every file with its fingerprint.
/// Errors: UserError "[resume]" naming the file that is missing, damaged or foreign;
/// std::system_error where one cannot be read.
Manifest verify_checkpoint(const std::filesystem::path& checkpoint);

/// All states, of a checkpoint that has been verified.
/// Errors: UserError.
Checkpoint read_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace penstock::checkpoint
