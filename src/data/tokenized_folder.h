#pragma once
// A folder made by tokenize(): its files and how to open them.

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "data/corpus_summary.h"
#include "data/shard.h"
#include "data/tokenizer.h"

namespace penstock::data {

inline constexpr const char* tokenizer_file_name = "tokenizer.json";
inline constexpr const char* summary_file_name = "summary.json";

/// Whether a path's last part is a name that tokenize() writes: train-*.tokens, val-*.tokens,
/// tokenizer.json or summary.json.
bool is_tokenized_folder_file(const std::filesystem::path& path);

/// Whether `path` is a folder with shards train-*.tokens.
bool is_tokenized_folder(const std::filesystem::path& path);

struct TokenizedFolder {
  std::vector<Shard> train;
  std::vector<Shard> val;  ///< May be empty.
  std::shared_ptr<Tokenizer> tokenizer;
  std::optional<CorpusSummary> summary;
};

/// Opens everything, shards in the order of their numbers.
/// Errors: UserError for a file that is missing, damaged or made with another tokenizer.
TokenizedFolder open_tokenized_folder(const std::filesystem::path& folder);

/// Refuses .tokens shards that were not made with `tokenizer`, and any with ids that it does not
/// have. Errors: UserError naming the shard and `source_name`, the tokenizer's.
void require_tokenizer(std::span<const Shard> shards, const Tokenizer& tokenizer,
                       const std::filesystem::path& source_name);

}  // namespace penstock::data
