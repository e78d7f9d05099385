// 1F1B with a flush: every batch starts and ends with an empty pipeline, so batch b reads W(b).
// Stage s runs d-1-s forwards, then forward/backward pairs, then the remaining backwards.
// Source: Narayanan et al. 2019 (PipeDream), with the flush of arXiv 2104.04473.

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const int m = shape.micro_batches;
  const int lead = std::min(shape.stages - 1 - stage, m);
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    for (int j = 0; j < lead; ++j) co_yield compute::forward(batch, j, batch);
    for (int j = 0; j < m; ++j) {
      if (j + lead < m) co_yield compute::forward(batch, j + lead, batch);
      co_yield compute::backward(batch, j, batch);
    }
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

}  // namespace

Schedule one_forward_one_backward() {
  Schedule schedule;
  schedule.name = "1f1b";
  schedule.summary = "synchronous, flushed at every batch; bubble (d-1)/(m+d-1)";
  schedule.complaint = [](PipelineShape shape) { return complaint_about_chunks("1f1b", shape); };
  schedule.limits = [](int stage, PipelineShape shape) {
    return StageLimits{.in_flight = std::min(shape.stages - stage, shape.micro_batches)};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
