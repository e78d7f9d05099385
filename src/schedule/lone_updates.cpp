#include "schedule/lone_updates.h"

#include <algorithm>
#include <utility>

#include "schedule/compute.h"

namespace penstock::schedule {
namespace {

int rounded_up(int a, int b) { return (a + b - 1) / b; }

/// Micro-batches that the stage is ahead of its backwards.
int lead_of(int stage, PipelineShape shape) { return shape.stages - 1 - stage; }

/// A batch's sums are only reported, so a stage collects those of batch b after its batch
/// b + collect_after - 1: the first stage, which is d-1 micro-batches behind the last, has
/// contributed by then.
int collect_after(PipelineShape shape) {
  return rounded_up(shape.stages - 1, shape.micro_batches) + 1;
}

/// The last stage is at most d micro-batches further than the first when that collects.
int reductions(PipelineShape shape) {
  return collect_after(shape) - 1 + rounded_up(shape.stages, shape.micro_batches);
}

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch, BackwardReads reads) {
  const std::int64_t m = shape.micro_batches;
  const std::int64_t lead = lead_of(stage, shape);
  const std::int64_t after = collect_after(shape);
  const auto newest_at_forward = [=](std::int64_t i) {
    return std::max<std::int64_t>(i - lead, 0) / m;
  };
  std::int64_t forwards = 0;
  std::int64_t backwards = 0;
  std::int64_t collected = 0;
  bool more = true;
  while (true) {
    if (more && forwards <= backwards + lead) {
      more = forwards % m != 0 || has_batch(forwards / m);
      if (!more) continue;
      co_yield compute::forward(forwards / m, forwards % m, newest_at_forward(forwards));
      ++forwards;
    } else if (backwards < forwards) {
      const std::int64_t batch = backwards / m;  // also the newest version: W(batch) was made last
      const std::int64_t version =
          reads == BackwardReads::newest_weights ? batch : newest_at_forward(backwards);
      co_yield compute::backward(batch, backwards % m, version);
      if (++backwards % m != 0) continue;
      co_yield compute::contribute(batch);
      co_yield compute::update(batch);
      if (collected + after <= batch + 1) co_yield compute::await_reduction(collected++);
    } else {
      break;
    }
  }
  while (collected * m < backwards) co_yield compute::await_reduction(collected++);
}

StageLimits limits_of(int stage, PipelineShape shape, BackwardReads reads) {
  const int lead = lead_of(stage, shape);
  const int most = rounded_up(lead, shape.micro_batches);
  return {.least_delay = lead / shape.micro_batches,
          .most_delay = most,
          .versions = reads == BackwardReads::newest_weights ? 1 : most + 1,
          .gradient_buffers = 1,
          .in_flight = lead + 1};
}

}  // namespace

Schedule with_lone_updates(std::string name, std::string summary, BackwardReads reads) {
  Schedule schedule;
  schedule.name = std::move(name);
  schedule.summary = std::move(summary);
  schedule.stashes_weights = reads == BackwardReads::weights_of_its_forward;
  schedule.updates_together = false;
  schedule.reductions = reductions;
  schedule.complaint = [name = schedule.name](PipelineShape shape) {
    return complaint_about_chunks(name, shape);
  };
  schedule.limits = [reads](int stage, PipelineShape shape) {
    return limits_of(stage, shape, reads);
  };
  // Stage 0 is d-1 forwards ahead of the last backward of batch version - 1.
  schedule.begun_at = [](std::int64_t version, PipelineShape shape) {
    return version + rounded_up(lead_of(0, shape), shape.micro_batches);
  };
  schedule.generate = [reads](int stage, PipelineShape shape, HasBatch has_batch) {
    return generate(stage, shape, std::move(has_batch), reads);
  };
  return schedule;
}

}  // namespace penstock::schedule
