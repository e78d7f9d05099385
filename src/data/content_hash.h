#pragma once
// One hash for contents: of documents, tokenizers and requests.

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::data {

/// XXH3 with 64 bits and seed 0: the same on every machine. Not for use against an adversary.
std::uint64_t content_hash(std::string_view bytes);

/// The hash as 16 hexadecimal digits.
std::string hash_text(std::uint64_t hash);

}  // namespace penstock::data
