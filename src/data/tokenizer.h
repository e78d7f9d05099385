#pragma once
// Text to ids and back.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::data {

/// A vocabulary over bytes. In every tokenizer the ids 0..255 are the bytes and 256 ends a
/// document, so any bytes can be encoded and decode(encode(bytes)) == bytes.
/// Threads: encode() needs the object for itself (it may fill a cache); the rest is free.
class Tokenizer {
 public:
  static constexpr std::uint32_t end_of_document = 256;

  virtual ~Tokenizer() = default;

  /// "bytes" or "bpe".
  virtual std::string_view name() const = 0;
  /// Number of ids, end_of_document included.
  virtual std::uint32_t vocabulary() const = 0;
  /// Appends the ids of `bytes`, without an end of document.
  virtual void encode(std::string_view bytes, std::vector<std::uint32_t>& ids) = 0;
  /// The bytes of one id; nothing for end_of_document; U+FFFD in UTF-8 for ids outside the
  /// vocabulary, which a model with a larger one can name.
  virtual std::string_view bytes_of(std::uint32_t id) const = 0;
  /// The file's text: the same for equal tokenizers.
  virtual std::string to_json() const = 0;

  std::string decode(std::span<const std::uint32_t> ids) const;
  /// content_hash() of to_json(): what shards remember of their tokenizer.
  std::uint64_t hash() const;
  /// Writes to_json() atomically.
  void save(const std::filesystem::path& file) const;
};

/// The vocabulary "bytes": 257 ids.
std::shared_ptr<Tokenizer> make_byte_tokenizer();

/// Reads what to_json() returns:
///   {"format": "penstock tokenizer", "version": 1, "kind": "bytes" | "bpe", "vocabulary": N,
///    "pre_tokenizer": ..., "merges": [[left, right, "text"], ...]}      (the last two: bpe only)
/// Merge i makes id 257 + i; "text" shows its bytes, those outside printable ASCII as \xNN.
/// Errors: UserError "[data]" naming `source_name` and what is wrong.
std::shared_ptr<Tokenizer> parse_tokenizer(std::string_view json, std::string_view source_name);
std::shared_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& file);

}  // namespace penstock::data
