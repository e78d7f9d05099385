#pragma once
// The folder that a run leaves behind.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/config.h"
#include "data/tokenizer.h"

namespace penstock::train {

/// config.toml (resolved), metrics.jsonl, model.safetensors, and where there is one,
/// tokenizer.json, the schedule's grid, which config.toml then names, and checkpoints.
struct RunFolder {
  std::filesystem::path path;

  std::filesystem::path config() const { return path / "config.toml"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path weights() const { return path / "model.safetensors"; }
  std::filesystem::path tokenizer() const { return path / "tokenizer.json"; }
  std::filesystem::path grid() const { return path / "schedule.grid"; }
  std::filesystem::path checkpoints() const { return path / "checkpoints"; }
};

/// The text of the schedule's grid file, if that is what the configuration names.
/// Errors: UserError for one that cannot be read.
std::optional<std::string> grid_text(const config::Config& config);

/// In the metadata of model.safetensors: how many updates have made the weights.
constexpr const char* updates_key = "updates";

/// An advisory lock on a folder, held by this process while the object lives.
class FolderLock {
 public:
  /// Errors: UserError where another process holds it, which tells to do `remedy`.
  explicit FolderLock(const std::filesystem::path& folder, std::string_view where = "output",
                      std::string_view remedy =
                          "set output.dir to another folder, or wait for "
                          "that run");
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  int descriptor_;
};

/// Makes the folder for a new run and writes configuration and tokenizer into it. A run that is
/// already there is not lost: its folder is renamed to the first free of PATH.1, PATH.2, ..., which
/// is returned in `moved`.
struct CreatedRun {
  RunFolder folder;
  FolderLock lock;  // held for the life of the run, so that no other run uses the folder
  std::optional<std::filesystem::path> moved;
};
CreatedRun create_run_folder(const config::Config& config, const data::Tokenizer* tokenizer);

/// What a finished run holds. Errors: UserError naming what is missing.
struct LoadedRun {
  config::Config config;
  std::map<std::string, at::Tensor> weights;
  std::shared_ptr<data::Tokenizer> tokenizer;
};
LoadedRun load_run(const std::filesystem::path& path);

}  // namespace penstock::train
