#pragma once
// Bytes that a rank needs.

#include <cstdint>

#include "plan/activations.h"
#include "plan/candidate.h"
#include "plan/workload.h"

namespace penstock::plan {

/// Messages that can wait on an edge, counted where they arrive (schedule/lowering.h).
inline constexpr double message_slots = 2;
/// An update forms its result in this many fp32 tensors of the largest parameter's size.
inline constexpr double update_copies = 3;
/// A ring all-reduce works in place and keeps two chunks of this many bytes under way.
inline constexpr double all_reduce_chunk = 32.0 * 1024 * 1024;
/// Bytes of one rank by what they are for.
struct MemoryUse {
  double weights = 0;      // all versions, in the precision of the computation
  double masters = 0;      // fp32 weights beside bf16 versions
  double gradients = 0;    // fp32, all buffers
  double optimizer = 0;    // state of optimizer and correction
  double activations = 0;  // of the micro-batches in flight, the gradient of the logits included
  double working = 0;      // what a backward or an update needs beyond these activations
  double messages = 0;     // activations and gradients between stages
  double all_reduce = 0;   // buffers for the sum over replicas

  double total() const {
    return weights + masters + gradients + optimizer + activations + working + messages +
           all_reduce;
  }
};

/// Bytes of a message between stages.
double message_bytes(const Workload& workload, const Candidate& candidate);

/// Parameters whose weights, gradients and state the stage holds. A tied head in the embedding's
/// piece has a gradient of its own but no weights.
struct StageParameters {
  double weights = 0;
  double matrix_weights = 0;
  double gradients = 0;
  double largest = 0;
  double state = 0;  // bytes of optimizer and correction
  double update_flop = 0;
};
StageParameters parameters_of(const Workload& workload, const Candidate& candidate, int stage);

/// From the schedule's limits: versions, buffers and activations in flight (plan/activations.h).
/// With several chunks a simulation gives the exact number of the latter, unless their order is
/// followed.
MemoryUse memory_of(const Workload& workload, const Candidate& candidate, int stage);

}  // namespace penstock::plan
