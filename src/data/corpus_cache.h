#pragma once
// Token shards of text that was tokenized before.

#include <filesystem>
#include <string>

#include "data/tokenize_corpus.h"
#include "data/tokenized_folder.h"

namespace penstock::data {

struct CachedCorpus {
  TokenizedFolder shards;
  bool was_there = false;
};

/// Opens the entry of `request` in `cache_folder`, making it first where there is none or a damaged
/// one; request.out and request.replace are not used. See prepare() for what makes an entry.
/// Errors: UserError, as tokenize(); std::system_error for a cache folder that cannot be written.
CachedCorpus open_cached(const std::filesystem::path& cache_folder, const TokenizeRequest& request);

}  // namespace penstock::data
