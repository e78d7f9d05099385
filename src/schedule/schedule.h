#pragma once
// The registry of schedules: what each means for weights, and its action stream per stage.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "schedule/action.h"

namespace penstock::schedule {

/// The actions of one stage, produced one by one: a million-step run needs no million-step list.
/// Ends with std::nullopt. Used by one thread.
class ActionStream {
 public:
  virtual ~ActionStream() = default;
  virtual std::optional<Action> next() = 0;
};

using StreamPtr = std::unique_ptr<ActionStream>;

/// Whether the run includes this batch. Asked at the moment a stage is about to start it, never for
/// a batch beyond the next one; may block until that is decided, so that a run can be cut short at
/// the same batch on every stage.
using HasBatch = std::function<bool(std::int64_t batch)>;

/// d stages, each batch cut into m micro-batches.
struct PipelineShape {
  int stages = 1;
  int micro_batches = 1;
};

/// One pipeline schedule. A new schedule is one file with one of these, and a line in registry().
struct Schedule {
  std::string_view name;
  std::string_view summary;
  int delay = 0;     // updates between the weights a gradient was taken at and the newest ones
  int versions = 1;  // weight versions a stage keeps
  int gradient_buffers = 1;  // batches whose gradients exist at the same time on a stage
  /// Whether a batch needs at least as many micro-batches as there are stages.
  bool needs_micro_batch_per_stage = true;
  /// Weight version that batch b reads: the rule that the streams carry out, for those who check
  /// or explain them.
  std::int64_t (*version_read)(std::int64_t batch) = nullptr;
  /// Compute actions (forward, backward, contribute, update) of one stage, in order.
  StreamPtr (*generate)(int stage, PipelineShape shape, HasBatch has_batch) = nullptr;
};

const std::vector<Schedule>& registry();

/// Errors: UserError naming the known schedules.
const Schedule& find(std::string_view name);

// The schedules, one file each.
Schedule one_forward_one_backward();  // "1f1b"
Schedule double_buffered_weights();   // "2bw"

}  // namespace penstock::schedule
