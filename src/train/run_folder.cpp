#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "config/print.h"
#include "train/catalogue.h"

namespace penstock::train {
namespace {

namespace fs = std::filesystem;

bool holds_run(const RunFolder& folder) {
  return fs::exists(folder.config()) || fs::exists(folder.weights()) ||
         fs::exists(folder.metrics());
}

fs::path first_free(const fs::path& path) {
  for (int number = 1;; ++number) {
    fs::path candidate = path;
    candidate += fmt::format(".{}", number);
    if (!fs::exists(candidate)) return candidate;
  }
}

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

/// Renames the folder where it holds an earlier run that no process is writing.
std::optional<fs::path> move_away(const RunFolder& folder, std::error_code& error) {
  if (!holds_run(folder)) return std::nullopt;
  const FolderLock lock(folder.path);
  const fs::path target = first_free(folder.path);
  fs::rename(folder.path, target, error);
  return target;
}

}  // namespace

std::optional<std::string> grid_text(const config::Config& config) {
  const std::string& path = config.pipeline.schedule;
  if (!path.ends_with(config::grid_suffix)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw user_error("schedule", "'{}' can no longer be read; put it back", path);
  return text.str();
}

FolderLock::FolderLock(const fs::path& folder, std::string_view where, std::string_view remedy)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(descriptor_);
  throw user_error(where, "'{}' is being written by another run; {}", folder.string(), remedy);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

CreatedRun create_run_folder(const config::Config& config, const data::Tokenizer* tokenizer) {
  // Read first: it may lie in the folder that is moved away.
  const auto grid = grid_text(config);
  const RunFolder folder{without_trailing_slash(config.output.dir)};
  std::error_code error;
  const auto moved = move_away(folder, error);
  if (!error) fs::create_directories(folder.path, error);
  if (error) {
    throw user_error("output",
                     "'{}' cannot be made the run folder: {}; set output.dir to one that "
                     "can be written",
                     folder.path.string(), error.message());
  }
  CreatedRun run{folder, FolderLock(folder.path), moved};
  config::Config kept = config;
  if (grid) {
    write_file_atomically(run.folder.grid(), *grid);
    kept.pipeline.schedule = run.folder.grid().filename().string();
  }
  write_file_atomically(run.folder.config(), config::to_toml(kept));
  if (tokenizer != nullptr) tokenizer->save(run.folder.tokenizer());
  return run;
}

LoadedRun load_run(const std::filesystem::path& path) {
  const RunFolder folder{path};
  if (!fs::is_directory(path) || !fs::exists(folder.config())) {
    throw user_error("run",
                     "'{}' is no run folder: it has no config.toml; give the folder that "
                     "'penstock train' wrote (output.dir)",
                     path.string());
  }
  if (!fs::exists(folder.weights())) {
    throw user_error(
        "run",
        "'{}' has no model.safetensors: the run has not ended or has failed; wait for it, or "
        "stop it with Ctrl-C, which writes the weights",
        path.string());
  }
  LoadedRun run;
  run.config = config::load(folder.config(), {}, catalogue());
  run.weights = checkpoint::read_safetensors(folder.weights()).tensors;
  if (fs::exists(folder.tokenizer())) run.tokenizer = data::load_tokenizer(folder.tokenizer());
  return run;
}

}  // namespace penstock::train
