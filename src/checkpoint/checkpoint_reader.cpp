#include "checkpoint/checkpoint_reader.h"

#include <fmt/format.h>

#include "checkpoint/damage.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;

void require_stages(const fs::path& checkpoint, const Manifest& manifest) {
  bool all = manifest.stages >= 1 && manifest.files.size() == std::size_t(manifest.stages);
  for (int stage = 0; all && stage < manifest.stages; ++stage) {
    all = manifest.files.contains(stage_file_name(stage));
  }
  if (!all || checkpoint_name(manifest.cut) != checkpoint.filename()) {
    throw damage(checkpoint, fmt::format("has the manifest of another one, of update {} with {} of "
                                         "{} stages",
                                         manifest.cut, manifest.files.size(), manifest.stages));
  }
}

void require_no_other_files(const fs::path& checkpoint, const Manifest& manifest) {
  for (const auto& item : fs::directory_iterator(checkpoint)) {
    const std::string name = item.path().filename().string();
    if (name == manifest_file("").string() || manifest.files.contains(name)) continue;
    throw damage(checkpoint, fmt::format("holds '{}', which is none of its files", name));
  }
}

void require_file(const fs::path& checkpoint, const std::string& name,
                  const Fingerprint& expected) {
  const fs::path path = checkpoint / name;
  if (!fs::is_regular_file(path)) throw damage(checkpoint, fmt::format("lacks '{}'", name));
  const auto bytes = fs::file_size(path);
  if (bytes != expected.bytes) {
    throw damage(checkpoint,
                 fmt::format("is damaged: '{}' has {} bytes, not {}", name, bytes, expected.bytes));
  }
  const Fingerprint found = fingerprint_of_file(path);
  if (found == expected) return;
  throw damage(checkpoint, fmt::format("is damaged: the bytes of '{}' have the hash {}, not {}",
                                       name, found.xxh3, expected.xxh3));
}

}  // namespace

std::optional<fs::path> newest_checkpoint(const fs::path& folder) {
  const auto entries = list_checkpoints(folder);
  return entries.empty() ? std::nullopt : std::optional(entries.back().path);
}

Manifest verify_checkpoint(const fs::path& checkpoint) {
  Manifest manifest = read_manifest(checkpoint);
  require_stages(checkpoint, manifest);
  require_no_other_files(checkpoint, manifest);
  for (const auto& [name, expected] : manifest.files) require_file(checkpoint, name, expected);
  return manifest;
}

Checkpoint read_checkpoint(const fs::path& checkpoint) {
  Checkpoint result{read_manifest(checkpoint), {}};
  for (int stage = 0; stage < result.manifest.stages; ++stage) {
    result.stages.push_back(read_safetensors(checkpoint / stage_file_name(stage)).tensors);
  }
  return result;
}

}  // namespace penstock::checkpoint
