#pragma once
// A recorded run in numbers.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "timeline/timeline.h"
#include "timeline/usage.h"

namespace penstock::timeline {

/// Durations of one kind of action, in seconds.
struct Durations {
  std::int64_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p95 = 0;
};
/// Quantiles are the least value that at least that share of the values does not exceed.
Durations durations_of(std::vector<double> seconds);

struct ChunkSummary {
  Durations forward;
  Durations backward;
  Durations backward_input;
  Durations backward_weight;
};

struct StageSummary {
  Usage usage;  // in the window
  double bubble_fraction = 0;
  std::vector<ChunkSummary> chunks;
  Durations contribute;
  Durations update;
  /// Updates that a batch's forwards had not seen when its own came: batch minus version read.
  std::int64_t least_delay = 0;
  std::int64_t most_delay = 0;
};

/// Stages of the same number of chunks as one: times added up, counts too; means over all of it,
/// and the largest of the stages' quantiles. At least one stage.
StageSummary together(std::span<const StageSummary> stages);

/// Batches, both included.
struct BatchRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

struct TraceSummary {
  BatchRange recorded;         // batches that every stage completed
  BatchRange batches;          // those summarised
  bool steady = true;          // false where too few were recorded to leave out fill and drain
  double from = 0;             // the window: from the end of the batch before `batches.first`
  double to = 0;               // to the end of `batches.last`
  Durations step;              // of the batches in the window
  double bubble_fraction = 0;  // mean over stages
  std::vector<StageSummary> stages;
};

/// When each batch ended: with the last stage's contribute. Only batches that all stages have
/// completed, in their order from the first recorded one.
struct BatchEnds {
  std::int64_t first = 0;
  std::vector<double> seconds;
};
BatchEnds batch_ends(const Timeline& timeline);

/// Summarises `batches`, or the steady ones: without the first quarter of the run, in which the
/// pipeline and the caches fill, and without the batches that drain it at the end. Errors:
/// UserError "[trace] ..." where the trace has none of them.
TraceSummary summarize(const Timeline& timeline, std::optional<BatchRange> batches = std::nullopt);

}  // namespace penstock::timeline
