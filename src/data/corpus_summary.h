#pragma once
// What tokenizing a corpus gave, in numbers.

#include <cstdint>
#include <filesystem>
#include <string>

namespace penstock::data {

/// Tokens include each document's end; bytes do not.
struct CorpusSummary {
  std::uint64_t files = 0;
  std::uint64_t skipped_files = 0;  ///< Binary or token shards, found in folders or by globs.
  std::uint64_t train_documents = 0;
  std::uint64_t val_documents = 0;
  std::uint64_t train_bytes = 0;
  std::uint64_t val_bytes = 0;
  std::uint64_t train_tokens = 0;
  std::uint64_t val_tokens = 0;
  std::uint64_t vocabulary = 0;
  std::string tokenizer;       ///< "bytes" or "bpe".
  double unigram_entropy = 0;  ///< Of the training tokens, nats per token.

  std::uint64_t documents() const { return train_documents + val_documents; }
  std::uint64_t bytes() const { return train_bytes + val_bytes; }
  std::uint64_t tokens() const { return train_tokens + val_tokens; }

  bool operator==(const CorpusSummary&) const = default;
};

/// One JSON object with a key per member.
std::string to_json(const CorpusSummary& summary);

/// Reads what to_json() wrote. Errors: UserError naming the file.
CorpusSummary load_summary(const std::filesystem::path& file);

}  // namespace penstock::data
