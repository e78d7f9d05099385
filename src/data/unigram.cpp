#include "data/unigram.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace penstock::data {

double unigram_entropy(std::span<const std::uint64_t> counts) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) total += count;
  double entropy = 0;
  for (const std::uint64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(total);
    entropy -= p * std::log(p);
  }
  return entropy;
}

double unigram_entropy(const TokenRange& range) {
  if (range.empty()) return 0;
  std::uint32_t largest = 0;
  for (const Shard& shard : range.stream->shards()) largest = std::max(largest, shard.largest_id());
  std::vector<std::uint64_t> counts(std::size_t{largest} + 1);
  std::vector<std::int64_t> ids(std::size_t{1} << 14);
  const std::uint64_t end = std::min<std::uint64_t>(range.size, std::uint64_t{1} << 27);
  for (std::uint64_t at = 0; at < end;) {
    const auto part = std::span(ids).first(std::min<std::uint64_t>(ids.size(), end - at));
    range.stream->read(range.begin + at, part);
    for (const std::int64_t id : part) ++counts[static_cast<std::size_t>(id)];
    at += part.size();
  }
  return unigram_entropy(counts);
}

}  // namespace penstock::data
