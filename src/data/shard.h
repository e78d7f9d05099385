#pragma once
// Files of tokens, mapped into memory.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/mapped_file.h"

namespace penstock::data {

enum class ShardFormat {
  penstock,  ///< .tokens, below.
  llm_c,     ///< .bin: 256 int32 (magic, version, tokens, ...), then uint16 (20240520, 1) or
             ///< uint32 (20240801, 7).
  nano_gpt,  ///< .bin: nothing but uint16.
};

/// The start of a .tokens file; little-endian, as everything in it. Behind it stand the tokens,
/// each document followed by its end-of-document id; zeros up to a multiple of 8 bytes; and for
/// each document the index of its first token, as uint64.
struct ShardHeader {
  static constexpr std::uint64_t expected_magic = 0x4e454b4f54545350;  ///< "PSTTOKEN".
  static constexpr std::uint32_t expected_version = 1;

  std::uint64_t magic = expected_magic;
  std::uint32_t version = expected_version;
  std::uint32_t token_width = 2;  ///< Bytes: 2 where vocabulary <= 65536, else 4.
  std::uint64_t tokens = 0;       ///< End-of-document ids included.
  std::uint64_t vocabulary = 0;
  std::uint64_t tokenizer_hash = 0;
  std::uint64_t documents = 0;
  std::uint64_t reserved[2] = {0, 0};

  std::uint64_t starts_offset() const { return (sizeof(*this) + tokens * token_width + 7) / 8 * 8; }
  std::uint64_t file_size() const { return starts_offset() + documents * 8; }
};
static_assert(sizeof(ShardHeader) == 64);

/// Ids of this size and more are no tokens of any vocabulary, but a damaged or different file.
constexpr std::uint32_t largest_vocabulary = 1U << 24;

/// One file of tokens. Opening checks its structure and reads all ids once, at memory speed, so
/// largest_id() is true whatever a header claims.
/// Errors of opening: UserError "[data]" naming the file for one that is missing, empty, cut off,
/// of an unknown kind or version, or holds ids outside its own vocabulary.
/// Threads: const functions from any number of threads. Moves keep the contents in place.
class Shard {
 public:
  explicit Shard(std::filesystem::path file);

  const std::filesystem::path& file() const { return path_; }
  ShardFormat format() const { return format_; }
  /// Number of tokens, at least 1.
  std::uint64_t size() const { return size_; }
  int token_width() const { return token_width_; }
  std::uint32_t largest_id() const { return largest_id_; }
  /// Only .tokens files have one.
  const std::optional<ShardHeader>& header() const { return header_; }
  /// The first token of each document; empty where the format does not tell.
  std::span<const std::uint64_t> document_starts() const { return document_starts_; }

  /// Copies the tokens offset .. offset + ids.size(). Errors: std::out_of_range.
  void read(std::uint64_t offset, std::span<std::int64_t> ids) const;

 private:
  void open_own();
  void open_foreign();
  void require_size(std::uint64_t expected) const;

  std::filesystem::path path_;
  MappedFile mapped_;
  ShardFormat format_ = ShardFormat::penstock;
  int token_width_ = 2;
  const char* tokens_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint32_t largest_id_ = 0;
  std::optional<ShardHeader> header_;
  std::span<const std::uint64_t> document_starts_;
};

/// Whether a file of this name is read as a shard: .tokens or .bin.
bool is_shard_name(const std::filesystem::path& file);

/// Refuses a shard that a model with `vocabulary` ids cannot read, naming file, id and vocabulary.
/// Errors: UserError.
void require_vocabulary(const Shard& shard, std::uint64_t vocabulary);

}  // namespace penstock::data
