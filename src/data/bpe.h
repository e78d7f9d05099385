#pragma once
// Byte-level byte-pair encoding with given merges.
// Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units",
// 2016; on bytes: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "data/pre_tokenizer.h"
#include "data/tokenizer.h"

namespace penstock::data {

/// Two neighbouring ids that become one.
struct Merge {
  std::uint32_t left = 0;
  std::uint32_t right = 0;

  bool operator==(const Merge&) const = default;
};

/// The vocabulary "bpe": merge i makes id 257 + i. encode() cuts the bytes into pre-tokens; in each
/// the pair of the lowest merge becomes one id, leftmost first, until no pair is left that has one.
/// Recent pre-tokens are remembered in 8 MiB.
/// Errors: std::invalid_argument for a merge that uses an id which does not exist before it, or
/// end_of_document, or repeats an earlier one, or makes a token longer than any pre-token.
std::shared_ptr<Tokenizer> make_bpe_tokenizer(std::span<const Merge> merges);

/// Bytes for people: printable ASCII as it is, a backslash as \\, others as \xNN.
std::string visible_text(std::string_view bytes);

}  // namespace penstock::data
