#pragma once
// What reading and printing grid files have in common.

#include <cstdint>
#include <string>
#include <string_view>

#include "schedule/grid_rows.h"

namespace penstock::schedule::grid_text {

// What a file may hold: the reader refuses more, and no more is printed.
constexpr int most_stages = 4096;
constexpr int most_micro_batches = largest_step_number;
constexpr int most_chunks = 256;
constexpr int largest_setting = 100'000;
constexpr std::uintmax_t most_bytes = 16 << 20;

/// For messages: printable and short.
inline std::string in_quotes(std::string_view word) {
  std::string text = "'";
  for (const char c : word.substr(0, 24)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (word.size() > 24 ? "...'" : "'");
}

}  // namespace penstock::schedule::grid_text
