#include "checkpoint/checkpoint_writer.h"

#include <fmt/format.h>

#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"

namespace penstock::checkpoint {

CheckpointWriter::CheckpointWriter(Setup setup) : setup_(std::move(setup)) {}

CheckpointWriter::~CheckpointWriter() {
  for (const auto& [cut, files] : open_) {
    std::error_code ignored;
    std::filesystem::remove_all(partial_path(path_of(cut)), ignored);
  }
}

std::filesystem::path CheckpointWriter::path_of(std::int64_t cut) const {
  return setup_.folder / checkpoint_name(cut);
}

bool CheckpointWriter::write(const Part& part) {
  auto& files = open_[part.cut];
  const std::string name = stage_file_name(part.stage);
  if (part.stage < 0 || part.stage >= setup_.stages || files.contains(name)) {
    throw std::logic_error(
        fmt::format("checkpoint {}: stage {} is unknown or came twice", part.cut, part.stage));
  }
  const SafetensorsFile file{
      part.tensors,
      {{"cut", fmt::format("{}", part.cut)}, {"stage", fmt::format("{}", part.stage)}}};
  files[name] = write_safetensors(partial_path(path_of(part.cut)) / name, file);
  if (static_cast<int>(files.size()) < setup_.stages) return false;
  complete(part.cut);
  return true;
}

void CheckpointWriter::complete(std::int64_t cut) {
  const auto path = path_of(cut);
  const Manifest manifest{setup_.identity, cut, setup_.stages, open_.at(cut)};
  write_file_atomically(manifest_file(partial_path(path)), to_json(manifest));
  if (setup_.before_publication) setup_.before_publication();
  // A run that goes on may come to the cut again that it went on from.
  if (std::filesystem::exists(path)) {
    std::filesystem::remove_all(partial_path(path));
  } else {
    publish_checkpoint(path);
  }
  open_.erase(cut);
  for (const Entry& entry : list_checkpoints(setup_.folder)) {
    if (entry.cut < cut) remove_checkpoint(entry.path);
  }
}

}  // namespace penstock::checkpoint
