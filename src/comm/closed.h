#pragma once
// The way out of a blocking call when the run is being torn down.

#include <stdexcept>

namespace penstock::comm {

/// Thrown by blocked or later calls once a channel, gate or reduction was closed. It is never the
/// cause of a failure, only its echo on the other stages.
struct Closed : std::runtime_error {
  Closed() : std::runtime_error("closed because another stage stopped") {}
};

}  // namespace penstock::comm
