#pragma once
// What the actions of a pipeline take: seconds and bytes.

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "schedule/placement.h"

namespace penstock::simulate {

/// Seconds of one kind of work.
struct Duration {
  double mean = 0;              // used where there are no samples
  std::vector<double> samples;  // a measured table: each occurrence draws one of them

  Duration() = default;
  Duration(double seconds) : mean(seconds) {}  // NOLINT: a number is a duration

  /// The mean of the samples, or `mean` where there are none.
  double expected() const;
  Duration scaled(double factor) const;
};

struct ChunkCosts {
  Duration forward;
  Duration backward;            // B; a schedule uses either this or the next two
  Duration backward_input;      // dX
  Duration backward_weight;     // dW
  double activation_bytes = 0;  // kept from F until B or dW, per micro-batch
};

struct StageCosts {
  std::vector<ChunkCosts> chunks;
  Duration contribute;
  Duration update;
  double slowdown = 1;         // factor on all durations: a straggler, or a slower device
  double weight_bytes = 0;     // of one weight version
  double gradient_bytes = 0;   // of one gradient buffer
  double optimizer_bytes = 0;  // state, and masters apart from the versions
};

/// Between two stages. A message of n bytes occupies its direction of the link for n / bandwidth
/// seconds and arrives `latency` later; the sender goes on at once.
struct Link {
  double latency = 0;                                          // seconds
  double bandwidth = std::numeric_limits<double>::infinity();  // bytes per second
};

/// The stage does nothing from this moment on; what it was doing is not finished.
struct Failure {
  int stage = 0;
  double at = 0;  // seconds
};

struct Costs {
  std::vector<StageCosts> stages;
  Link link;  // of every pair of stages; free within a stage
  /// Where they differ: links[s] lies between stages s and s + 1, and links[d-1], which only
  /// schedules with chunks in a loop use, between the last stage and the first. Those that the
  /// list is too short for are `link`.
  std::vector<Link> links;
  double message_bytes = 0;  // of an activation or gradient of one micro-batch
  double reduction = 0;      // seconds from the last contribution to everybody's result
  double jitter = 0;         // standard deviation of a log-normal factor of mean 1 on durations
  std::uint64_t seed = 0;
  std::optional<Failure> failure;
};

/// The same costs on every stage; with several chunks, each chunk costs a share of the stage.
/// `one` gives a whole stage's F, B, dX, dW and bytes.
Costs uniform(schedule::PipelineShape shape, const ChunkCosts& one, double update = 0);

/// Errors: UserError where the costs are not of this shape or a value is out of range.
void check(const Costs& costs, schedule::PipelineShape shape);

}  // namespace penstock::simulate
