#pragma once
// What a checkpoint says about itself: manifest.json.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/fingerprint.h"

namespace penstock::checkpoint {

/// Whose state a checkpoint is. A run goes on from it only where `configuration` and `data` are its
/// own; `origin` is for notes.
struct Identity {
  std::map<std::string, std::string>
      configuration;                          ///< "section.key": value, what decides results.
  std::map<std::string, std::string> data;    ///< What tells the tokens from others.
  std::map<std::string, std::string> origin;  ///< Versions, processor, ...

  bool operator==(const Identity&) const = default;
};

struct Manifest {
  Identity identity;
  std::int64_t cut = 0;  ///< Updates done.
  int stages = 0;
  std::map<std::string, Fingerprint> files;  ///< By name; one per stage.

  bool operator==(const Manifest&) const = default;
};

/// "manifest.json".
std::filesystem::path manifest_file(const std::filesystem::path& checkpoint);
/// "stage-0003.safetensors".
std::string stage_file_name(int stage);

/// One JSON object with a fingerprint of itself in "xxh3", so that no damage goes unseen.
std::string to_json(const Manifest& manifest);

/// Errors: UserError "[resume]" for a manifest that is missing, damaged or of another format.
Manifest read_manifest(const std::filesystem::path& checkpoint);

}  // namespace penstock::checkpoint
