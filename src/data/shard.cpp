#include "data/shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace penstock::data {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are mapped as they are");

constexpr std::size_t llm_c_header_bytes = 256 * 4;

/// Calls `use` with the tokens as a span of their own type.
template <class Use>
auto with_tokens(const char* tokens, std::uint64_t size, int width, Use use) {
  if (width == 2) return use(std::span(reinterpret_cast<const std::uint16_t*>(tokens), size));
  return use(std::span(reinterpret_cast<const std::uint32_t*>(tokens), size));
}

}  // namespace

Shard::Shard(std::filesystem::path file) : path_(std::move(file)), mapped_(path_) {
  if (mapped_.bytes().empty()) throw user_error("data", "'{}' is empty", path_.string());
  if (path_.extension() == ".tokens") {
    open_own();
  } else if (path_.extension() == ".bin") {
    open_foreign();
  } else {
    throw user_error("data", "'{}' is no token shard: its name ends in neither .tokens nor .bin",
                     path_.string());
  }
  largest_id_ = with_tokens(tokens_, size_, token_width_, [](auto ids) {
    std::uint32_t largest = 0;
    for (const std::uint32_t id : ids) largest = std::max(largest, id);
    return largest;
  });
  if (header_ && largest_id_ >= header_->vocabulary) {
    throw user_error("data", "'{}' is damaged: it holds the id {}, its vocabulary has {} ids",
                     path_.string(), largest_id_, header_->vocabulary);
  }
  if (largest_id_ >= largest_vocabulary) {
    throw user_error("data", "'{}' holds the id {}, which is no token: ids go up to {}",
                     path_.string(), largest_id_, largest_vocabulary - 1);
  }
}

void Shard::open_own() {
  const std::string_view bytes = mapped_.bytes();
  ShardHeader header;
  if (bytes.size() < sizeof(header)) {
    throw user_error("data", "'{}' is cut off: it has {} bytes, its header alone has {}",
                     path_.string(), bytes.size(), sizeof(header));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != ShardHeader::expected_magic) {
    throw user_error("data", "'{}' is no token shard: it does not start with \"PSTTOKEN\"",
                     path_.string());
  }
  if (header.version != ShardHeader::expected_version) {
    throw user_error("data", "'{}' has format version {}, this program reads {}", path_.string(),
                     header.version, ShardHeader::expected_version);
  }
  // Bounding the counts by the size keeps the sums below from wrapping around.
  const std::uint32_t width = header.vocabulary <= 65536 ? 2 : 4;
  if (header.token_width != width || header.vocabulary == 0 ||
      header.vocabulary > largest_vocabulary) {
    throw user_error("data", "'{}' is damaged: vocabulary {} with {} bytes per token",
                     path_.string(), header.vocabulary, header.token_width);
  }
  if (header.tokens > bytes.size() || header.documents > bytes.size()) {
    throw user_error("data", "'{}' is cut off: {} bytes cannot hold {} tokens in {} documents",
                     path_.string(), bytes.size(), header.tokens, header.documents);
  }
  require_size(header.file_size());
  if (header.tokens == 0) throw user_error("data", "'{}' holds no tokens", path_.string());
  document_starts_ = {reinterpret_cast<const std::uint64_t*>(bytes.data() + header.starts_offset()),
                      header.documents};
  const bool ascending = std::adjacent_find(document_starts_.begin(), document_starts_.end(),
                                            std::greater_equal<>()) == document_starts_.end();
  if (document_starts_.empty() || document_starts_.front() != 0 || !ascending ||
      document_starts_.back() >= header.tokens) {
    throw user_error("data", "'{}' is damaged: its document starts are not ascending from 0",
                     path_.string());
  }
  format_ = ShardFormat::penstock;
  token_width_ = static_cast<int>(width);
  tokens_ = bytes.data() + sizeof(header);
  size_ = header.tokens;
  header_ = header;
}

void Shard::open_foreign() {
  const std::string_view bytes = mapped_.bytes();
  std::array<std::int32_t, 3> start{};  // magic, version, tokens
  if (bytes.size() >= sizeof(start)) std::memcpy(start.data(), bytes.data(), sizeof(start));
  const auto [magic, version, tokens] = start;
  if (magic != 20240520 && magic != 20240801) {
    if (bytes.size() % 2 != 0) {
      throw user_error("data",
                       "'{}' has {} bytes, an odd number, and no llm.c header: as a nanoGPT shard "
                       "it would have 2 bytes per token",
                       path_.string(), bytes.size());
    }
    format_ = ShardFormat::nano_gpt;
    token_width_ = 2;
    tokens_ = bytes.data();
    size_ = bytes.size() / 2;
    return;
  }
  const std::int32_t known = magic == 20240520 ? 1 : 7;
  if (version != known) {
    throw user_error("data",
                     "'{}' is an llm.c shard (magic {}) of version {}, this program reads {}",
                     path_.string(), magic, version, known);
  }
  if (bytes.size() < llm_c_header_bytes) {
    throw user_error("data", "'{}' is cut off: it has {} bytes, its header alone has {}",
                     path_.string(), bytes.size(), llm_c_header_bytes);
  }
  format_ = ShardFormat::llm_c;
  token_width_ = magic == 20240520 ? 2 : 4;
  if (tokens <= 0) {
    throw user_error("data", "'{}' holds no tokens: its header gives {}", path_.string(), tokens);
  }
  size_ = static_cast<std::uint64_t>(tokens);
  require_size(llm_c_header_bytes + size_ * static_cast<std::uint64_t>(token_width_));
  tokens_ = bytes.data() + llm_c_header_bytes;
}

void Shard::require_size(std::uint64_t expected) const {
  const std::uint64_t actual = mapped_.bytes().size();
  if (actual == expected) return;
  throw user_error("data", "'{}' {}: it has {} bytes, its header asks for {}", path_.string(),
                   actual < expected ? "is cut off" : "has more than its tokens", actual, expected);
}

void Shard::read(std::uint64_t offset, std::span<std::int64_t> ids) const {
  if (offset > size_ || ids.size() > size_ - offset) {
    throw std::out_of_range("read behind the end of shard " + path_.string());
  }
  with_tokens(tokens_, size_, token_width_, [&](auto tokens) {
    const auto part = tokens.subspan(offset, ids.size());
    std::copy(part.begin(), part.end(), ids.begin());
  });
}

bool is_shard_name(const std::filesystem::path& file) {
  return file.extension() == ".tokens" || file.extension() == ".bin";
}

void require_vocabulary(const Shard& shard, std::uint64_t vocabulary) {
  if (shard.largest_id() >= vocabulary) {
    throw user_error("data",
                     "'{}' holds the id {}, the model's vocabulary has {} ids; set model.vocab to "
                     "{} or more",
                     shard.file().string(), shard.largest_id(), vocabulary,
                     std::max<std::uint64_t>(shard.largest_id() + 1,
                                             shard.header() ? shard.header()->vocabulary : 0));
  }
  if (shard.header() && shard.header()->vocabulary > vocabulary) {
    throw user_error(
        "data",
        "'{}' has a vocabulary of {} ids, the model's has {}; set model.vocab to {} or "
        "more",
        shard.file().string(), shard.header()->vocabulary, vocabulary, shard.header()->vocabulary);
  }
}

}  // namespace penstock::data
