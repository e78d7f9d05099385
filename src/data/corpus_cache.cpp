#include "data/corpus_cache.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "data/content_hash.h"
#include "data/input_files.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

/// To be raised whenever the same request on the same files gives other tokens.
constexpr int entry_version = 1;

nlohmann::json files_text(const std::vector<std::string>& inputs) {
  nlohmann::json list = nlohmann::json::array();
  if (inputs.empty()) return list;
  for (const InputFile& file : find_files(inputs)) {
    // Paths need not be UTF-8, which JSON texts have to be.
    const std::uint64_t path = content_hash(fs::absolute(file.path).native());
    list.push_back({path, content_hash(file.name), file.named, file.size, file.mtime_ns});
  }
  return list;
}

std::string tokenizer_text(const TokenizeRequest& request) {
  const auto given = given_tokenizer(request.tokenizer, request.vocabulary);
  return given ? hash_text(given->hash()) : fmt::format("bpe {}", request.vocabulary);
}

std::string key_of(const TokenizeRequest& request) {
  const nlohmann::json identity = {entry_version,
                                   tokenizer_text(request),
                                   request.val.empty() ? request.val_fraction : 0.0,
                                   content_hash(request.separator),
                                   request.single_document == SingleDocument::reject,
                                   request.shard_tokens,
                                   request.bpe_sample_bytes,
                                   files_text(request.train),
                                   files_text(request.val)};
  return hash_text(content_hash(identity.dump()));
}

std::optional<TokenizedFolder> open_entry(const fs::path& entry) {
  if (!fs::exists(entry / summary_file_name)) return std::nullopt;
  try {
    return open_tokenized_folder(entry);
  } catch (const UserError&) {
    return std::nullopt;
  }
}

/// A folder that nobody else has, removed at the end unless it was published.
class TemporaryEntry {
 public:
  TemporaryEntry(const fs::path& cache_folder, const std::string& key) {
    std::string name = (cache_folder / fmt::format(".{}.XXXXXX", key)).string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(),
                              fmt::format("cannot create a folder in '{}'", cache_folder.string()));
    }
    folder_ = name;
    fs::permissions(folder_,
                    fs::perms::group_read | fs::perms::group_exec | fs::perms::others_read |
                        fs::perms::others_exec,
                    fs::perm_options::add);
  }
  ~TemporaryEntry() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  TemporaryEntry(const TemporaryEntry&) = delete;
  TemporaryEntry& operator=(const TemporaryEntry&) = delete;

  const fs::path& folder() const { return folder_; }

  /// Renaming fails where another process has published an entry meanwhile: then that one is used.
  void publish(const fs::path& entry) const {
    std::error_code error;
    fs::rename(folder_, entry, error);
    if (!error || fs::exists(entry / summary_file_name)) return;
    throw std::system_error(error, fmt::format("cannot create '{}'", entry.string()));
  }

 private:
  fs::path folder_;
};

/// Removes what interrupted runs left: temporary entries that nobody has touched for a day.
void remove_leftovers(const fs::path& cache_folder) {
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(cache_folder, error)) {
    const bool temporary = entry.path().filename().native().starts_with('.') &&
                           entry.path().extension().native().size() == 7;
    if (!temporary || !entry.is_directory(error)) continue;
    if (entry.last_write_time(error) < yesterday && !error) fs::remove_all(entry.path(), error);
  }
}

}  // namespace

CachedCorpus open_cached(const fs::path& cache_folder, const TokenizeRequest& request) {
  const std::string key = key_of(request);
  const fs::path entry = cache_folder / key;
  if (auto opened = open_entry(entry)) return {std::move(*opened), true};

  fs::create_directories(cache_folder);
  remove_leftovers(cache_folder);
  const TemporaryEntry temporary(cache_folder, key);
  TokenizeRequest inside = request;
  inside.out = temporary.folder();
  inside.replace = false;
  tokenize(inside);
  // What is there by now is damaged, unless another process has just published it.
  if (!open_entry(entry)) fs::remove_all(entry);
  temporary.publish(entry);
  return {open_tokenized_folder(entry), false};
}

}  // namespace penstock::data
