#pragma once
// Memory of this process.

#include <cstdint>

namespace penstock::observe {

/// The most memory this program has held in RAM so far (peak resident set), in bytes. Linux; counts
/// from the program's start, whatever started it. 0 where the system does not tell.
std::int64_t peak_rss_bytes();

}  // namespace penstock::observe
