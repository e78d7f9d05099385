#pragma once
// Corrections from outside this tree.

#include <vector>

#include "delay/registry.h"

namespace penstock::delay {

/// What a program adds to registry(). Penstock itself defines it as nothing; a program that defines
/// it in a file of its own gets its own instead, since the linker takes a library's definition only
/// where there is no other. See examples/extend.
std::vector<Entry> extensions();

}  // namespace penstock::delay
