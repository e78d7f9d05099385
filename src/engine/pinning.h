#pragma once
// Which cores a stage's threads run on.

#include <vector>

namespace penstock::engine {

/// The cores this process may use, ascending.
std::vector<int> usable_cores();

/// The cores of one stage: a consecutive share of `cores`, `threads` each, or all of them when
/// stages * threads exceeds their number (pinning would then make two stages share one core).
std::vector<int> cores_of_stage(const std::vector<int>& cores, int stage, int stages, int threads);

/// Restricts the calling thread, and the threads it will start, to these cores. A refusal by the
/// system is ignored: it costs speed, not correctness.
void pin_this_thread(const std::vector<int>& cores);

}  // namespace penstock::engine
