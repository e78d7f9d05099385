// ZB-H1: 1F1B with the backward cut in dX, which the previous stage waits for, and dW, which nobody
// waits for and which therefore fills the bubble. Source: Qi et al. 2023, arXiv 2401.10241.
//
// F, dX, dW in turns, until the last d micro-batches: their dX's pass through all stages at twice
// the time of one action, F or dW in between. So stage s keeps s dW's back for the end, holds the
// activations of at most d micro-batches, and where F, dX and dW take equally long, its only gaps
// are the d-1 before its first dX.

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const int m = shape.micro_batches;
  const int lead = std::min(shape.stages - 1 - stage, m);
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    int weights = 0;
    for (int j = 0; j < lead; ++j) co_yield compute::forward(batch, j, batch);
    for (int j = 0; j < m; ++j) {
      if (j + lead < m) co_yield compute::forward(batch, j + lead, batch);
      co_yield compute::backward_input(batch, j, batch);
      const bool steady = j < m - shape.stages;
      const bool forwards_used_up = j + 1 + lead >= m;
      if (steady || forwards_used_up) co_yield compute::backward_weight(batch, weights++, batch);
    }
    for (; weights < m; ++weights) co_yield compute::backward_weight(batch, weights, batch);
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

}  // namespace

Schedule zero_bubble_h1() {
  Schedule schedule;
  schedule.name = "zb-h1";
  schedule.summary = "synchronous, dW fills the gaps; a third of the bubble of 1f1b";
  schedule.complaint = [](PipelineShape shape) { return complaint_about_chunks("zb-h1", shape); };
  schedule.limits = [](int, PipelineShape shape) {
    return StageLimits{.in_flight = std::min(shape.stages, shape.micro_batches)};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
