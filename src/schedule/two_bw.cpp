// PipeDream-2BW: never flushed, two weight versions, gradients exactly one update old.
// Source: Narayanan et al. 2021, arXiv 2006.09503; semantics in docs/delay.md.
//
// Stage s runs `lead` forwards once, then forward/backward pairs for ever. Batch b reads
// W(max(b-1, 0)). W(b+1), made from batch b, is first read by the first forward of batch b+2: the
// update is placed right before it, as late as the semantics allow, which leaves at least m-lead
// pairs between a stage's last backward of batch b and the moment the reduction is needed.
//
// The lead is d-1-s, the least that keeps all stages busy while links take no time and all pieces
// take the same; every answer that comes late is waited for. `2bw-ahead` runs up to twice as far
// ahead, as far as m allows: between two neighbours waits one micro-batch more, which hides jitter,
// and with m >= 2(d-1) a latency of up to half of F + B. Versions, delay and arithmetic are the
// same.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

std::int64_t version_read(std::int64_t batch) { return std::max<std::int64_t>(batch - 1, 0); }

/// Forwards before the first backward.
using Lead = int (*)(int stage, PipelineShape shape);

int least_lead(int stage, PipelineShape shape) { return shape.stages - 1 - stage; }

/// Batch b has to be done everywhere before stage 0 begins batch b+2: no lead is above m.
int long_lead(int stage, PipelineShape shape) {
  const int least = least_lead(stage, shape);
  return least + std::min(least, shape.micro_batches - least_lead(0, shape));
}

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch, Lead lead_of) {
  const std::int64_t m = shape.micro_batches;
  const std::int64_t lead = lead_of(stage, shape);
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

std::string complaint(std::string_view name, PipelineShape shape) {
  if (shape.micro_batches < shape.stages) {
    return fmt::format(
        "schedule '{}' needs pipeline.micro_batches >= pipeline.stages, but they "
        "are {} and {}; set pipeline.micro_batches = {} or more",
        name, shape.micro_batches, shape.stages, shape.stages);
  }
  return complaint_about_chunks(name, shape);
}

Schedule with_lead(std::string name, std::string summary, Lead lead_of) {
  Schedule schedule;
  schedule.name = name;
  schedule.summary = std::move(summary);
  schedule.complaint = [name](PipelineShape shape) { return complaint(name, shape); };
  schedule.limits = [lead_of](int stage, PipelineShape shape) {
    // The last stage has nothing in flight when it updates: it needs no second version.
    const bool last = stage == shape.stages - 1;
    return StageLimits{.least_delay = 1,
                       .most_delay = 1,
                       .versions = last ? 1 : 2,
                       .gradient_buffers = 2,
                       .in_flight = lead_of(stage, shape) + 1};
  };
  // W(version) is written right before the first forward of batch version + 1.
  schedule.begun_at = [](std::int64_t version, PipelineShape) { return version + 2; };
  schedule.generate = [lead_of](int stage, PipelineShape shape, HasBatch has_batch) {
    return generate(stage, shape, std::move(has_batch), lead_of);
  };
  return schedule;
}

}  // namespace

Schedule double_buffered_weights() {
  return with_lead("2bw", "asynchronous, no bubble in steady state; gradients one update old",
                   least_lead);
}

Schedule double_buffered_weights_ahead() {
  return with_lead("2bw-ahead",
                   "2bw with up to twice the micro-batches in flight against jitter and latency",
                   long_lead);
}

}  // namespace penstock::schedule
