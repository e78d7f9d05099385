#pragma once
// Writes documents into .tokens files.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace penstock::data {

struct ShardSettings {
  std::filesystem::path folder;
  std::string prefix;  ///< "train" gives train-000.tokens, train-001.tokens, ...
  std::uint64_t vocabulary = 0;
  std::uint64_t tokenizer_hash = 0;
  std::uint32_t end_of_document = 0;
  /// A shard that would grow beyond this is closed first. Documents stay whole, so one that is
  /// longer gets a longer shard of its own.
  std::uint64_t shard_tokens = 100'000'000;
};

/// Collects one shard in memory at a time and writes it atomically.
/// Errors: std::system_error naming the file that could not be written.
/// Threads: one caller at a time.
class ShardWriter {
 public:
  explicit ShardWriter(ShardSettings settings);

  /// Appends the document and its end-of-document id.
  void add_document(std::span<const std::uint32_t> ids);
  /// Writes what is left. To be called once, last.
  void finish();

  /// Written so far, in order.
  const std::vector<std::filesystem::path>& files() const { return files_; }

 private:
  void append(std::uint32_t id);
  void write_shard();

  ShardSettings settings_;
  std::size_t width_;
  std::vector<char> tokens_;
  std::vector<std::uint64_t> document_starts_;
  std::vector<std::filesystem::path> files_;
};

}  // namespace penstock::data
