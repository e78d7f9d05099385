#pragma once
// Several shards as one row of tokens.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/shard.h"

namespace penstock::data {

/// The shards' tokens one behind the other, in the given order.
/// Threads: const functions from any number of threads.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Shard> shards);

  /// Number of tokens.
  std::uint64_t size() const { return ends_.empty() ? 0 : ends_.back(); }
  const std::vector<Shard>& shards() const { return shards_; }

  /// Copies the tokens offset .. offset + ids.size(), across shards. Errors: std::out_of_range.
  void read(std::uint64_t offset, std::span<std::int64_t> ids) const;

 private:
  std::vector<Shard> shards_;
  std::vector<std::uint64_t> ends_;  ///< Of each shard in the stream.
};

/// The tokens begin .. begin + size of a stream. Empty without a stream.
struct TokenRange {
  std::shared_ptr<const TokenStream> stream;
  std::uint64_t begin = 0;
  std::uint64_t size = 0;

  bool empty() const { return size == 0; }
};

TokenRange whole(std::shared_ptr<const TokenStream> stream);

}  // namespace penstock::data
