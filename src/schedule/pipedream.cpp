// PipeDream: never flushed; every stage updates on its own as soon as a batch's backwards are done.
// A forward reads the newest weights and its backward the same ones, kept until then. Stage s runs
// w = d-1-s forwards ahead, so micro-batch i (counted over the run) reads
// W(floor(max(i - w, 0) / m)): with m = 1 a delay of w updates.
// Source: Narayanan et al. 2019, "PipeDream", SOSP.

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
  const auto version_read = [=](std::int64_t i) { return std::max<std::int64_t>(i - lead, 0) / m; };
  std::int64_t forwards = 0;
  std::int64_t backwards = 0;
  std::int64_t collected = 0;
  bool more = true;
  while (true) {
    if (more && forwards <= backwards + lead) {
      more = forwards % m != 0 || has_batch(forwards / m);
      if (!more) continue;
      co_yield compute::forward(forwards / m, forwards % m, version_read(forwards));
      ++forwards;
    } else if (backwards < forwards) {
      const std::int64_t batch = backwards / m;
      co_yield compute::backward(batch, backwards % m, version_read(backwards));
      if (++backwards % m != 0) continue;
      co_yield compute::contribute(batch);
      co_yield compute::update(batch);
      if (collected + collect_after <= batch + 1) co_yield compute::await_reduction(collected++);
    } else {
      break;
    }
  }
  while (collected * m < backwards) co_yield compute::await_reduction(collected++);
}

}  // namespace

Schedule pipedream() {
  Schedule schedule;
  schedule.name = "pipedream";
  schedule.summary =
      "asynchronous, no bubble; gradients up to ceil((d-1-s)/m) updates old on stage s";
  schedule.updates_together = false;
  schedule.reductions = lone_updates::reductions;
  schedule.complaint = [](PipelineShape shape) {
    return complaint_about_chunks("pipedream", shape);
  };
  schedule.limits = [](int stage, PipelineShape shape) {
    const int lead = lone_updates::lead(stage, shape);
    const int most = lone_updates::rounded_up(lead, shape.micro_batches);
    return StageLimits{.least_delay = lead / shape.micro_batches,
                       .most_delay = most,
                       .versions = most + 1,
                       .gradient_buffers = 1,
                       .in_flight = lead + 1};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
