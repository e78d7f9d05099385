#include "data/pre_tokenizer.h"

#include <algorithm>
#include <stdexcept>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

namespace penstock::data {
namespace {

// The classes are spelled out: those of PCRE2 depend on the tables it was built with.
constexpr std::string_view rule =
    "[ _]?[A-Za-z\\x80-\\xff]+"
    "| ?[0-9]{1,3}"
    "| ?[^\\t-\\r A-Za-z0-9\\x80-\\xff]+"
    "|[\\t-\\r ]+(?![^\\t-\\r ])"
    "|[\\t-\\r ]+";

}  // namespace

struct PreTokenizer::Pattern {
  Pattern() {
    int error = 0;
    std::size_t where = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rule.data()), rule.size(),
                         PCRE2_ANCHORED | PCRE2_NEVER_UTF, &error, &where, nullptr);
    if (code == nullptr) {
      throw std::logic_error(fmt::format("pre-token pattern: error {} at {}", error, where));
    }
    // Where PCRE2 has no compiler for this machine, the same matches are found more slowly.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    match = pcre2_match_data_create(1, nullptr);
    if (match == nullptr) {
      pcre2_code_free(code);
      throw std::bad_alloc();
    }
  }
  ~Pattern() {
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  pcre2_code* code = nullptr;
  pcre2_match_data* match = nullptr;
};

PreTokenizer::PreTokenizer() : pattern_(std::make_unique<Pattern>()) {}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

std::size_t PreTokenizer::next(std::string_view text, std::size_t start) {
  // The window bounds the work on runs without end; the byte behind it decides the look-ahead.
  const std::string_view window = text.substr(start, longest + 1);
  const int found = pcre2_match(pattern_->code, reinterpret_cast<PCRE2_SPTR>(window.data()),
                                window.size(), 0, 0, pattern_->match, nullptr);
  if (found < 0) throw std::runtime_error(fmt::format("pre-token pattern: PCRE2 error {}", found));
  return start + std::min(pcre2_get_ovector_pointer(pattern_->match)[1], longest);
}

}  // namespace penstock::data
