#pragma once
// How much memory this machine has.

#include <cstdint>

namespace penstock {

/// Bytes of main memory, whoever uses it.
std::int64_t physical_memory();

}  // namespace penstock
