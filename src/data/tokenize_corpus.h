#pragma once
// From text files to a folder of token shards.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/corpus_summary.h"
#include "data/progress.h"
#include "data/tokenizer.h"

namespace penstock::data {

/// What is done where no validation text is given and there is but one document to hold out.
enum class SingleDocument { reject, train_on_it };

struct TokenizeRequest {
  std::vector<std::string> train;   ///< Files, folders and globs; see input_files.h.
  std::vector<std::string> val;     ///< Empty: `val_fraction` of the documents of `train`.
  std::string tokenizer = "bytes";  ///< "bytes", "bpe" or a tokenizer's file.
  std::int64_t vocabulary = 0;      ///< Ids wanted of a new "bpe", >= 257.
  double val_fraction = 0.05;       ///< In [0, 1); 0: no validation shards.
  std::string separator;            ///< See documents.h; empty: a file is a document.
  SingleDocument single_document = SingleDocument::reject;
  std::uint64_t shard_tokens = 100'000'000;
  /// A new bpe learns from about this many bytes of the training documents: of their blocks of 64
  /// KiB those that a hash of the document's content and the block's number chooses.
  std::uint64_t bpe_sample_bytes = 64'000'000;
  std::filesystem::path out;
  bool replace = false;  ///< Whether shards and the like in `out` may be replaced.
  Progress progress;
};

/// Writes into request.out: train-000.tokens, ..., val-000.tokens, ..., tokenizer.json and
/// summary.json. The files appear when all is done, so an interrupted call leaves none (but a
/// folder .partial-*, which the next one removes: one call at a time per folder).
///
/// Each document is encoded by itself and followed by the end-of-document id. Files that a folder
/// or glob found are skipped if they are binary (a zero byte in the first 8 KiB) or named like
/// token shards; a file that is named itself is text whatever it holds. The result depends on the
/// files' contents and relative names alone.
///
/// Errors: UserError "[data]" for inputs that are missing, not readable or without text, an `out`
/// with something in it, options out of range, a document that cannot be split.
CorpusSummary tokenize(const TokenizeRequest& request);

/// The tokenizer that `name` stands for without any text: none for "bpe", which has to be learnt.
/// Errors: UserError for a file that is missing or malformed, and for a vocabulary of "bpe" outside
/// 257 .. 2^24.
std::shared_ptr<Tokenizer> given_tokenizer(const std::string& name, std::int64_t vocabulary);

}  // namespace penstock::data
