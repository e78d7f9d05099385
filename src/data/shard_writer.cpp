#include "data/shard_writer.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/atomic_file.h"
#include "data/shard.h"

namespace penstock::data {

ShardWriter::ShardWriter(ShardSettings settings)
    : settings_(std::move(settings)), width_(settings_.vocabulary <= 65536 ? 2 : 4) {}

void ShardWriter::add_document(std::span<const std::uint32_t> ids) {
  const std::uint64_t held = tokens_.size() / width_;
  if (held > 0 && held + ids.size() + 1 > settings_.shard_tokens) write_shard();
  document_starts_.push_back(tokens_.size() / width_);
  for (const std::uint32_t id : ids) append(id);
  append(settings_.end_of_document);
}

void ShardWriter::finish() {
  if (!tokens_.empty()) write_shard();
}

void ShardWriter::append(std::uint32_t id) {
  // Little-endian: the low bytes come first.
  std::array<char, 4> bytes{};
  std::memcpy(bytes.data(), &id, sizeof(id));
  tokens_.insert(tokens_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(width_));
}

void ShardWriter::write_shard() {
  ShardHeader header;
  header.token_width = static_cast<std::uint32_t>(width_);
  header.tokens = tokens_.size() / width_;
  header.vocabulary = settings_.vocabulary;
  header.tokenizer_hash = settings_.tokenizer_hash;
  header.documents = document_starts_.size();
  const std::size_t padding = header.starts_offset() - sizeof(header) - tokens_.size();

  files_.push_back(settings_.folder /
                   fmt::format("{}-{:03}.tokens", settings_.prefix, files_.size()));
  AtomicFile file(files_.back());
  file.write(std::as_bytes(std::span(&header, 1)));
  file.write(std::as_bytes(std::span(tokens_)));
  file.write(std::string_view("\0\0\0\0\0\0\0", padding));
  file.write(std::as_bytes(std::span(document_starts_)));
  file.commit();
  tokens_.clear();
  document_starts_.clear();
}

}  // namespace penstock::data
