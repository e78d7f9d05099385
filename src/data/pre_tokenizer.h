#pragma once
// Where byte-level BPE may not merge: the borders of pre-tokens.

#include <cstddef>
#include <memory>
#include <string_view>

namespace penstock::data {

/// Cuts bytes into pre-tokens, whose concatenation is the text. The kinds, first match wins:
///   a run of letters (ASCII letters and every byte >= 0x80, so UTF-8 is never cut), with one
///   space or underscore before it: "get_name" is "get", "_name";
///   one to three digits, with one space before them;
///   a run of anything else that is no white space, with one space before it;
///   a run of white space, without its last character where a pre-token follows.
/// Runs are cut after `longest` bytes. The rule's name is `id`; a new rule gets a new one.
/// Threads: one caller at a time per object.
class PreTokenizer {
 public:
  static constexpr std::string_view id = "penstock-1";
  static constexpr std::size_t longest = 256;

  PreTokenizer();
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  /// The end of the pre-token that starts at `start`; start < text.size().
  std::size_t next(std::string_view text, std::size_t start);

 private:
  struct Pattern;
  std::unique_ptr<Pattern> pattern_;
};

}  // namespace penstock::data
