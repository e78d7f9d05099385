// PipeDream-2BW: never flushed, two weight versions, gradients exactly one update old.
// Source: Narayanan et al. 2021, arXiv 2006.09503; semantics in docs/delay.md.
//
// Stage s runs d-1-s forwards once, then forward/backward pairs for ever. Batch b reads
// W(max(b-1, 0)). W(b+1), made from batch b, is first read by the first forward of batch b+2: the
// update is placed right before it, as late as the semantics allow, which leaves at least m-d+1
// pairs between a stage's last backward of batch b and the moment the reduction is needed.

#include <fmt/format.h>

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

std::int64_t version_read(std::int64_t batch) { return std::max<std::int64_t>(batch - 1, 0); }

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const std::int64_t m = shape.micro_batches;
  const std::int64_t lead = shape.stages - 1 - stage;
  std::int64_t forwards = 0;
  std::int64_t backwards = 0;
  std::int64_t updates = 0;
  bool more = true;
  while (true) {
    if (more && forwards <= backwards + lead) {
      const std::int64_t batch = forwards / m;
      more = forwards % m != 0 || has_batch(batch);
      if (!more) continue;
      if (updates < version_read(batch)) {
        co_yield compute::await_reduction(updates);
        co_yield compute::update(updates++);
      }
      co_yield compute::forward(batch, forwards % m, version_read(batch));
      ++forwards;
    } else if (backwards < forwards) {
      const std::int64_t batch = backwards / m;
      co_yield compute::backward(batch, backwards % m, version_read(batch));
      if (++backwards % m == 0) co_yield compute::contribute(batch);
    } else {
      break;
    }
  }
  for (; updates * m < backwards; ++updates) {
    co_yield compute::await_reduction(updates);
    co_yield compute::update(updates);
  }
}

std::string complaint(PipelineShape shape) {
  if (shape.micro_batches < shape.stages) {
    return fmt::format(
        "schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, but they "
        "are {} and {}; set pipeline.micro_batches = {} or more",
        shape.micro_batches, shape.stages, shape.stages);
  }
  return complaint_about_chunks("2bw", shape);
}

}  // namespace

Schedule double_buffered_weights() {
  Schedule schedule;
  schedule.name = "2bw";
  schedule.summary = "asynchronous, no bubble in steady state; gradients one update old";
  schedule.complaint = complaint;
  schedule.limits = [](int stage, PipelineShape shape) {
    // The last stage has nothing in flight when it updates: it needs no second version.
    const bool last = stage == shape.stages - 1;
    return StageLimits{.least_delay = 1,
                       .most_delay = 1,
                       .versions = last ? 1 : 2,
                       .gradient_buffers = 2,
                       .in_flight = shape.stages - stage};
  };
  // W(version) is written right before the first forward of batch version + 1.
  schedule.begun_at = [](std::int64_t version, PipelineShape) { return version + 2; };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
