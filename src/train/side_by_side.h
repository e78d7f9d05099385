#pragma once
// How often something can be done per second, by one worker or by several at the same time.

#include <functional>

namespace penstock::train {

/// Placed like the stages of a run: each on a thread of its own, pinned to its share of the cores.
struct Workers {
  int count = 1;
  int threads = 1;  // intra-op threads of each
};

/// As many workers as the cores hold.
Workers all_cores(int threads);

/// Calls `make` on each worker's thread, without gradient mode, and once what that returns; then
/// all workers repeat it at the same time, for a few rounds of `seconds` together, at least once
/// per round. Returns the calls per second of one worker, their mean, in the best round: what other
/// programs take away is no part of a bound. Errors: what a worker throws.
double calls_per_second(const Workers& workers, double seconds,
                        const std::function<std::function<void()>()>& make);

}  // namespace penstock::train
