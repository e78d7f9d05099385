#pragma once
// What a pipeline schedule is, and the registry of those that come with the program.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "schedule/action_stream.h"
#include "schedule/placement.h"

namespace penstock::schedule {

/// What a schedule promises of one stage; the validator holds it to that.
struct StageLimits {
  /// Updates between the weights that a gradient was taken at (by its forward) and the newest ones
  /// when the update was made, except for the first batches, which can only be younger.
  int least_delay = 0;
  int most_delay = 0;
  int versions = 1;          // weight versions kept
  int gradient_buffers = 1;  // batches whose gradients exist at the same time
  int in_flight = 1;         // chunk activations kept, from F to B (or dW)
};

/// One pipeline schedule. A new one is one file with a function that returns this, and a line in
/// registry().
struct Schedule {
  std::string name;
  std::string summary;
  Placement placement = Placement::loop;
  /// Chunks per stage where the configuration does not say.
  int default_chunks = 1;
  /// The shape of a schedule that is written out for a single one.
  std::optional<PipelineShape> only_shape = std::nullopt;
  /// Whether B reads the version that its F read, which is kept as long ("weight stashing").
  /// Otherwise B reads the newest one.
  bool stashes_weights = true;
  /// Whether an update waits for all stages' share of the batch. Without that there is no global
  /// gradient norm to clip by and no sum of tied gradients.
  bool updates_together = true;
  /// Batches whose reductions may be under way at the same time.
  std::function<int(PipelineShape)> reductions = [](PipelineShape) { return 2; };
  /// Why the schedule cannot run in this shape: rule, values, nearest setting that works; empty
  /// where it can.
  std::function<std::string(PipelineShape)> complaint = [](PipelineShape) { return ""; };
  std::function<StageLimits(int stage, PipelineShape)> limits;
  /// How many batches stage 0 has asked for (HasBatch) when it writes W(version), in a run without
  /// end; no stage has asked for more by then. That many must exist for a cut there (cut.h).
  std::function<std::int64_t(std::int64_t version, PipelineShape)> begun_at =
      [](std::int64_t version, PipelineShape) { return version; };
  /// Compute actions of one stage, in order: F, B or dX and dW, contribute, await_reduction,
  /// update. The shape must be one without complaint.
  std::function<ActionStream(int stage, PipelineShape, HasBatch)> generate;
};

const std::vector<Schedule>& registry();

/// Errors: UserError naming the known schedules.
const Schedule& find(std::string_view name);

/// Why the schedule cannot run in this shape: its own complaint, or that of every schedule against
/// shapes that are not positive or too large to count; empty where it can.
std::string complaint_about(const Schedule& schedule, std::int64_t stages,
                            std::int64_t micro_batches, std::int64_t chunks);
/// Errors: UserError with that complaint.
void check_shape(const Schedule& schedule, PipelineShape shape);

/// For complaints of schedules without chunks: empty, or why `shape` is refused.
std::string complaint_about_chunks(std::string_view name, PipelineShape shape, int chunks = 1);

// The schedules, one file each, but for the two of 2bw.
Schedule gpipe();
Schedule one_forward_one_backward();       // "1f1b"
Schedule interleaved();                    // "interleaved"
Schedule zero_bubble_h1();                 // "zb-h1"
Schedule zero_bubble_v();                  // "zb-v"
Schedule pipedream();                      // "pipedream"
Schedule double_buffered_weights();        // "2bw"
Schedule double_buffered_weights_ahead();  // "2bw-ahead"
Schedule one_weight_copy();                // "paci"

}  // namespace penstock::schedule
