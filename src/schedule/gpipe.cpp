// All forwards of a batch, then all its backwards, then the update.
// Source: Huang et al. 2019, arXiv 1811.06965. The backwards run in the order of the micro-batches,
// so that gradients are summed in the same order under every schedule.

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

ActionStream generate(int, PipelineShape shape, HasBatch has_batch) {
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    for (int j = 0; j < shape.micro_batches; ++j) co_yield compute::forward(batch, j, batch);
    for (int j = 0; j < shape.micro_batches; ++j) co_yield compute::backward(batch, j, batch);
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

}  // namespace

Schedule gpipe() {
  Schedule schedule;
  schedule.name = "gpipe";
  schedule.summary = "synchronous, all forwards first; bubble (d-1)/(m+d-1), activations of m";
  schedule.complaint = [](PipelineShape shape) { return complaint_about_chunks("gpipe", shape); };
  schedule.limits = [](int, PipelineShape shape) {
    return StageLimits{.in_flight = shape.micro_batches};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
