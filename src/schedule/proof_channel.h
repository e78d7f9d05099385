#pragma once
// A channel between two stages as a proof needs it: what a message says, not what it carries.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "schedule/collected_clock.h"

namespace penstock::schedule {

struct ProofMessage {
  std::int64_t version = 0;
  std::int64_t slot = 0;  // from which on it is there
  CollectedClockPtr clock;
};

/// A first-in-first-out channel of bounded capacity. Both its ends take the micro-batches in order
/// (StageRules), so the message at its front is always the one that the receiver asks for.
struct ProofChannel {
  std::vector<ProofMessage> ring;
  std::size_t capacity = 0;
  std::size_t head = 0;
  std::size_t count = 0;
  std::int64_t freed = 0;  // slot of the last receive
  int waiting = -1;        // the stage that is stuck at either end
  CollectedClockPtr seen;  // the last clock that came through

  ProofMessage& push() {
    if (ring.empty()) ring.resize(capacity);
    std::size_t place = head + count++;
    if (place >= capacity) place -= capacity;
    return ring[place];
  }
  ProofMessage& front() { return ring[head]; }
  void pop() {
    if (++head == capacity) head = 0;
    --count;
  }
};

}  // namespace penstock::schedule
