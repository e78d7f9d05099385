#pragma once
// The entropy of single tokens: what a model that ignores context can reach.

#include <cstdint>
#include <span>

#include "data/token_stream.h"

namespace penstock::data {

/// -sum_i p_i ln p_i with p_i = counts[i] / sum of counts, in nats per token; 0 for no counts.
double unigram_entropy(std::span<const std::uint64_t> counts);

/// unigram_entropy() of the first 2^27 tokens (134 million) of a range.
double unigram_entropy(const TokenRange& range);

}  // namespace penstock::data
