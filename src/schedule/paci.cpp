// PACI: PipeDream with a single weight copy. A forward reads the newest weights, and so does its
// backward, up to ceil((d-1-s)/m) updates later: the two may differ, which is the price for the
// memory. Updates after every m backwards, on each stage alone.
// Source: arXiv 2606.07881 (a step every a = m backwards; drift at most ceil((d-1)/a)).

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/lone_updates.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const std::int64_t m = shape.micro_batches;
  const std::int64_t lead = lone_updates::lead(stage, shape);
  const std::int64_t collect_after = lone_updates::collect_after(shape);
  std::int64_t forwards = 0;
  std::int64_t backwards = 0;
  std::int64_t collected = 0;
  bool more = true;
  while (true) {
    const std::int64_t newest = backwards / m;
    if (more && forwards <= backwards + lead) {
      more = forwards % m != 0 || has_batch(forwards / m);
      if (!more) continue;
      co_yield compute::forward(forwards / m, forwards % m, newest);
      ++forwards;
    } else if (backwards < forwards) {
      co_yield compute::backward(newest, backwards % m, newest);
      if (++backwards % m != 0) continue;
      co_yield compute::contribute(newest);
      co_yield compute::update(newest);
      if (collected + collect_after <= newest + 1) co_yield compute::await_reduction(collected++);
    } else {
      break;
    }
  }
  while (collected * m < backwards) co_yield compute::await_reduction(collected++);
}

}  // namespace

Schedule one_weight_copy() {
  Schedule schedule;
  schedule.name = "paci";
  schedule.summary = "asynchronous, no bubble, one weight copy; F and B may read different weights";
  schedule.stashes_weights = false;
  schedule.updates_together = false;
  schedule.reductions = lone_updates::reductions;
  schedule.complaint = [](PipelineShape shape) { return complaint_about_chunks("paci", shape); };
  schedule.limits = [](int stage, PipelineShape shape) {
    const int lead = lone_updates::lead(stage, shape);
    return StageLimits{.least_delay = lead / shape.micro_batches,
                       .most_delay = lone_updates::rounded_up(lead, shape.micro_batches),
                       .versions = 1,
                       .gradient_buffers = 1,
                       .in_flight = lead + 1};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
