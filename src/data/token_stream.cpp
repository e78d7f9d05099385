#include "data/token_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace penstock::data {

TokenStream::TokenStream(std::vector<Shard> shards) : shards_(std::move(shards)) {
  std::uint64_t end = 0;
  for (const Shard& shard : shards_) ends_.push_back(end += shard.size());
}

void TokenStream::read(std::uint64_t offset, std::span<std::int64_t> ids) const {
  if (offset > size() || ids.size() > size() - offset) {
    throw std::out_of_range("read behind the end of a token stream");
  }
  auto shard = static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), offset) -
                                        ends_.begin());
  while (!ids.empty()) {
    const std::uint64_t here = std::min<std::uint64_t>(ids.size(), ends_[shard] - offset);
    const std::uint64_t start = ends_[shard] - shards_[shard].size();
    shards_[shard].read(offset - start, ids.first(here));
    ids = ids.subspan(here);
    offset += here;
    ++shard;
  }
}

TokenRange whole(std::shared_ptr<const TokenStream> stream) {
  const std::uint64_t size = stream->size();
  return {std::move(stream), 0, size};
}

}  // namespace penstock::data
