#include "train/run_folder.h"

#include <fmt/format.h>

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

}  // namespace

CreatedRun create_run_folder(const config::Config& config, const data::Tokenizer* tokenizer) {
  CreatedRun run{{without_trailing_slash(config.output.dir)}, {}};
  std::error_code error;
  if (holds_run(run.folder)) {
    run.moved = first_free(run.folder.path);
    fs::rename(run.folder.path, *run.moved, error);
  }
  if (!error) fs::create_directories(run.folder.path, error);
  if (error) {
    throw user_error("output",
                     "'{}' cannot be made the run folder: {}; set output.dir to one that "
                     "can be written",
                     run.folder.path.string(), error.message());
  }
  write_file_atomically(run.folder.config(), config::to_toml(config));
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
