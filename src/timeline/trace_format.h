#pragma once
// What the writer and the reader of trace files agree on.

#include <string_view>

namespace penstock::timeline::trace_format {

inline constexpr std::string_view name = "penstock trace";
inline constexpr int version = 1;

}  // namespace penstock::timeline::trace_format
