#pragma once
// Where stages get their tokens.

#include <cstdint>
#include <functional>
#include <memory>

#include "model/unit_op.h"

namespace penstock::engine {

/// Pure functions of the position, so that the first stage (inputs) and the last (targets) read
/// the same data without talking to each other. One object per stage, used by its thread.
class MicroBatchSource {
 public:
  virtual ~MicroBatchSource() = default;
  virtual model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) = 0;
  virtual model::MicroBatch validation(std::int64_t micro_batch) = 0;
};

using SourceFactory = std::function<std::unique_ptr<MicroBatchSource>()>;

}  // namespace penstock::engine
