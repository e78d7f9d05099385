#pragma once
// From what the user names to data that a run can read.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/progress.h"
#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace penstock::data {

struct PrepareRequest {
  /// All text (files, folders, globs; see input_files.h), or all tokens: shards (names or globs
  /// that end in .tokens or .bin) and folders made by tokenize(), which bring their validation
  /// shards.
  std::vector<std::string> train;
  /// The same kind as `train`. Empty: see ValSource.
  std::vector<std::string> val;
  /// For text: "bytes", "bpe" or a tokenizer's file. For tokens: a file, or, with the words, the
  /// tokenizer.json beside the shards.
  std::string tokenizer = "bytes";
  std::int64_t vocabulary = 0;         ///< Ids wanted of a new "bpe".
  std::int64_t model_vocabulary = 0;   ///< Ids that the model has; 0: any number will do.
  double val_fraction = 0.05;          ///< In [0, 1); 0: no validation, unless `train` brings some.
  std::string separator;               ///< Of documents in text; see documents.h.
  std::filesystem::path cache_folder;  ///< For the shards of text; made where it is missing.
  std::int64_t seq = 0;                ///< Tokens of a sequence: there has to be enough for one.
  Progress progress;                   ///< Called only where text has to be tokenized.
};

/// Where the validation tokens come from.
enum class ValSource {
  none,
  given,      ///< `val`, or the validation shards of a folder made by tokenize().
  documents,  ///< Documents of `train` chosen by content (see documents.h).
  windows,    ///< The last windows of the training tokens: shards, or text of one document.
};

struct Prepared {
  TokenRange train;
  TokenRange val;  ///< Empty for ValSource::none.
  ValSource val_source = ValSource::none;
  std::shared_ptr<Tokenizer> tokenizer;  ///< None for foreign shards without one.
  /// Ids of the tokenizer, or of the shards' headers, or else the largest id plus one.
  std::int64_t vocabulary = 0;
  std::uint64_t documents = 0;  ///< Of both parts; 0 where the shards do not tell.
  std::uint64_t bytes = 0;      ///< Of both parts' text; 0 where the shards do not tell.
  std::uint64_t tokens = 0;     ///< Of both parts.
  double unigram_entropy = 0;   ///< Of the training tokens, nats per token.
  bool from_cache = false;      ///< Text that an earlier call had tokenized.
};

/// Opens tokens, or tokenizes text once into cache_folder/<key> and opens that. The key is a hash
/// of the request and of every file's path, name, size and time of change, so a later call with
/// unchanged files only lists them. An entry appears complete or not at all; processes that make
/// the same entry at once all succeed. One that is damaged is made anew.
///
/// Errors: UserError "[data]" for everything that is wrong with inputs, shards and tokenizers (see
/// the functions of this folder), for ids outside the model's vocabulary and for too little data.
Prepared prepare(const PrepareRequest& request);

}  // namespace penstock::data
