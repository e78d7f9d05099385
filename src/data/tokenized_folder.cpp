#include "data/tokenized_folder.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "data/content_hash.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

bool is_shard_of(const fs::path& path, std::string_view prefix) {
  return path.extension() == ".tokens" && path.filename().native().starts_with(prefix);
}

std::vector<fs::path> shard_files(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> files;
  // A folder that cannot be read has none; who needs its files complains.
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (is_shard_of(entry.path(), prefix)) files.push_back(entry.path());
  }
  // By number: train-1000 comes behind train-999.
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(a.native().size(), a.native()) < std::pair(b.native().size(), b.native());
  });
  return files;
}

std::vector<Shard> open_shards(const fs::path& folder, std::string_view prefix,
                               const Tokenizer& tokenizer) {
  std::vector<Shard> shards;
  for (const fs::path& file : shard_files(folder, prefix)) shards.emplace_back(file);
  require_tokenizer(shards, tokenizer, folder / tokenizer_file_name);
  return shards;
}

}  // namespace

bool is_tokenized_folder_file(const fs::path& path) {
  return is_shard_of(path, "train-") || is_shard_of(path, "val-") ||
         path.filename() == tokenizer_file_name || path.filename() == summary_file_name;
}

bool is_tokenized_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) && !shard_files(path, "train-").empty();
}

TokenizedFolder open_tokenized_folder(const fs::path& folder) {
  TokenizedFolder opened;
  opened.tokenizer = load_tokenizer(folder / tokenizer_file_name);
  opened.train = open_shards(folder, "train-", *opened.tokenizer);
  opened.val = open_shards(folder, "val-", *opened.tokenizer);
  if (fs::exists(folder / summary_file_name)) {
    opened.summary = load_summary(folder / summary_file_name);
  }
  if (opened.train.empty()) {
    throw user_error("data", "folder '{}' holds no train-*.tokens", folder.string());
  }
  return opened;
}

void require_tokenizer(std::span<const Shard> shards, const Tokenizer& tokenizer,
                       const fs::path& source_name) {
  const std::uint64_t hash = tokenizer.hash();
  for (const Shard& shard : shards) {
    if (shard.header() && shard.header()->tokenizer_hash != hash) {
      throw user_error("data",
                       "'{}' was made with another tokenizer (hash {}) than '{}' (hash {}); set "
                       "data.tokenizer to the one it was made with",
                       shard.file().string(), hash_text(shard.header()->tokenizer_hash),
                       source_name.string(), hash_text(hash));
    }
    if (shard.largest_id() >= tokenizer.vocabulary()) {
      throw user_error("data", "'{}' holds the id {}, the tokenizer '{}' has {} ids",
                       shard.file().string(), shard.largest_id(), source_name.string(),
                       tokenizer.vocabulary());
    }
  }
}

}  // namespace penstock::data
