#pragma once
// Learns the merges of byte-level BPE from text.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe.h"
#include "data/pre_tokenizer.h"
#include "data/progress.h"

namespace penstock::data {

/// Counts the pre-tokens of all added text; then, again and again, makes the most frequent pair of
/// neighbouring ids one id. Of equally frequent pairs the one with the smaller left id is taken, of
/// those the one with the smaller right id. The merges depend on the text alone, not on its order,
/// the machine or the standard library.
///
/// Cost: each merge touches only the pre-tokens that contain its pair. Memory grows with the number
/// of different pre-tokens.
/// Threads: one caller at a time.
class BpeTrainer {
 public:
  void add(std::string_view text);

  /// Merges for a vocabulary of `vocabulary` ids (>= 257): vocabulary - 257 of them, or fewer where
  /// no pair occurs twice any more.
  std::vector<Merge> train(std::uint32_t vocabulary, const Progress& progress = {}) const;

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const;
  };

  PreTokenizer pre_tokenizer_;
  std::unordered_map<std::string, std::uint64_t, TextHash, std::equal_to<>> counts_;
};

}  // namespace penstock::data
