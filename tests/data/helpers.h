#pragma once
// What the tests of this folder share.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "data/shard.h"
#include "data/shard_writer.h"
#include "data/token_stream.h"

namespace penstock::data {

/// The line of the UserError that `call` throws; "(no error)" without one.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(no error)";
}

/// The values' bytes, as they stand in memory.
template <class Value>
std::string bytes_of_values(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

/// `count` random bytes, with long runs and text in between so that every kind of pre-token comes.
inline std::string random_text(std::uint64_t seed, std::size_t count) {
  constexpr std::string_view common = "   \n\t__aeinrst  (),.=0123";
  std::string text;
  for (std::uint64_t i = 0; text.size() < count; ++i) {
    const std::uint64_t bits = random_bits(seed, i);
    const char any = static_cast<char>(bits >> 8);
    const char usual = common[(bits >> 16) % common.size()];
    text.append((bits >> 32) % 97 == 0 ? (bits >> 40) % 700 : 1, bits % 3 == 0 ? any : usual);
  }
  text.resize(count);
  return text;
}

/// The tokens 0, 1, ..., count - 1 as one shard of one document (whose last token is its end).
inline std::filesystem::path write_counting_shard(const std::filesystem::path& folder,
                                                  const std::string& prefix, std::uint32_t first,
                                                  std::uint32_t count) {
  ShardWriter writer({.folder = folder,
                      .prefix = prefix,
                      .vocabulary = 60000,
                      .tokenizer_hash = 7,
                      .end_of_document = first + count - 1,
                      .shard_tokens = 100000});
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i + 1 < count; ++i) ids.push_back(first + i);
  writer.add_document(ids);
  writer.finish();
  return writer.files().front();
}

inline std::vector<std::int64_t> read_all(const TokenStream& stream) {
  std::vector<std::int64_t> ids(stream.size());
  stream.read(0, ids);
  return ids;
}

inline std::vector<std::int64_t> read_all(const Shard& shard) {
  std::vector<std::int64_t> ids(shard.size());
  shard.read(0, ids);
  return ids;
}

}  // namespace penstock::data
